"""A program on the VM in front of a person: its output here, keys and signals there.

The main thread prints and passes on signals and sizes; `devsync-stdin` carries what is
typed, from the moment the program runs: until then questions may be asked.
"""

from __future__ import annotations

import codecs
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from ..daemon.client import Client, RemoteFailure
from ..errors import DevsyncError
from . import output, terminal
from .settings import Settings
from .talk import Talk
from .terminal import Escape, LocalTerminal

_DEFAULT_SIZE = (24, 80)


def run(settings: Settings, what: dict[str, Any], *, tty: bool) -> int:
    """Starts `what` (keys of `colabDevsync/exec`) and stays until its end; its exit
    code. `tty`: at a terminal of its own. KeyboardInterrupt if it was left."""
    front = _Front(settings, tty=tty)
    with Talk(settings, notified=front.notified) as talk:
        front.talk = talk
        try:
            with _Interrupts(talk.client) as interrupts, front.terminal:
                body = front.stay(what, interrupts)
            code = _exit_code(body)
        except (DevsyncError, KeyboardInterrupt):
            front.terminal.tidy()
            raise
    if settings.json:
        output.json_line({"exitCode": code})
    return code


def _exit_code(body: dict[str, Any]) -> int:
    if body["state"] == "cancelled":
        raise KeyboardInterrupt
    if body["state"] == "failed":
        raise RemoteFailure(body["error"])
    return int(body["result"]["exitCode"])


class _Front:
    def __init__(self, settings: Settings, *, tty: bool) -> None:
        self.talk: Talk | None = None
        self.terminal = LocalTerminal(self._wake)
        self._settings = settings
        self._tty = tty
        self._size = terminal.size() or _DEFAULT_SIZE if tty else None
        self._run: str | None = None
        self._left = False

    def stay(self, what: dict[str, Any], interrupts: _Interrupts) -> dict[str, Any]:
        """Until the program's end; how it ended."""
        assert self.talk is not None
        client = self.talk.client
        params = {"folder": self.talk.folder, "stdin": True, **what}
        if self._size is not None:
            rows, columns = self._size
            params["tty"] = {"rows": rows, "cols": columns, "term": terminal.kind()}
            params["env"] = {**terminal.colours(), **params.get("env", {})}
        started = client.request("colabDevsync/exec", params)
        interrupts.run = started["run"]
        final = client.send_request("colabDevsync/wait", {"job": started["job"]})

        def on_wake() -> None:
            interrupts.pass_on()
            self._look()

        body: dict[str, Any] = client.run_until(final, on_wake=on_wake)
        return body

    def notified(self, method: str, params: Any) -> None:
        is_output = method == "colabDevsync/output"
        if (not is_output and method != "colabDevsync/run") or "folder" in params:
            return  # nothing of ours: a run of the project, for example
        if self._run is None and (is_output or params["state"] == "running"):
            self._begin(params["run"])  # output may overtake the news that it runs
        if is_output and self._settings.json:
            output.json_line(params)
        elif is_output:
            stream = sys.stderr if params["stream"] == "stderr" else sys.stdout
            stream.buffer.write(params["text"].encode("utf-8", "surrogateescape"))
            stream.buffer.flush()

    def _begin(self, run: str) -> None:
        """The program runs: the keys are its."""
        assert self.talk is not None
        self._run = run
        is_raw = self._tty and not self._settings.json
        if is_raw:
            self.terminal.raw()
        escape = Escape() if is_raw and self.terminal.is_terminal else None
        sender = _Sender(self.talk, run, self.terminal, escape)
        sender.on_leave = self._leave
        threading.Thread(target=sender.run, name="devsync-stdin", daemon=True).start()

    def _look(self) -> None:
        """Has the window another size, does the person want to go?"""
        if self._left:
            raise KeyboardInterrupt
        if self.talk is None or self._run is None or self._size is None:
            return
        size = terminal.size()
        if size is not None and size != self._size:
            self._size = size
            params = {"run": self._run, "rows": size[0], "cols": size[1]}
            self.talk.client.send_request("colabDevsync/resize", params)

    def _leave(self) -> None:
        self._left = True
        self._wake()

    def _wake(self) -> None:
        if self.talk is not None:
            self.talk.client.wake()


class _Interrupts:
    """ctrl-C goes to the program; a second one kills it; a third one leaves it.

    Passed on between two messages, so that no output is lost half-way.
    """

    _NAMES = ("INT", "KILL")

    def __init__(self, client: Client) -> None:
        self.run: str | None = None
        self._client = client
        self._count = 0
        self._sent = 0

    def __enter__(self) -> _Interrupts:
        self._before = signal.signal(signal.SIGINT, self._count_one)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def pass_on(self) -> None:
        while self.run is not None and self._sent < self._count:
            params = {"run": self.run, "name": self._NAMES[self._sent]}
            self._sent += 1
            # Not awaited: the program may end by itself at the same moment.
            self._client.send_request("colabDevsync/signal", params)

    def _count_one(self, _number: int, _frame: FrameType | None) -> None:
        if self._count == len(self._NAMES):
            raise KeyboardInterrupt
        self._count += 1
        self._client.wake()


class _Sender:
    """Carries our stdin to the program; each piece waits until the last was taken."""

    def __init__(
        self, talk: Talk, run: str, source: LocalTerminal, escape: Escape | None
    ) -> None:
        self._client = talk.client
        self._run = run
        self._source = source
        self._escape = escape
        self.on_leave: Callable[[], None] = lambda: None

    def run(self) -> None:
        decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        try:
            while data := self._source.read():
                passed = self._escape.feed(data) if self._escape else data
                if passed is None:
                    self.on_leave()
                    return
                if passed:
                    self._send(text=decode(passed))
            self._send(text=decode(b"", True), eof=True)
        except DevsyncError:
            pass  # the program or the daemon has ended; the main thread says so

    def _send(self, **body: Any) -> None:
        params = {"run": self._run, **body}
        self._client.send_request("colabDevsync/input", params).result()
