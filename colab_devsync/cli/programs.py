"""`exec`: any command on the VM, its bytes unchanged in both directions."""

from __future__ import annotations

import codecs
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

import click

from ..daemon.client import Client, RemoteFailure
from ..errors import DevsyncError
from . import output
from .settings import Settings, current, global_options
from .talk import Talk

_CHUNK = 65536
_NO_PROGRAM = 127


@click.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@global_options(hidden=True)
@click.option("--cwd", default=".", help="Folder, relative to the project's.")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(cwd: str, argv: tuple[str, ...]) -> int:
    """Run ARGV on the VM, in the project's folder; exit with its code.

    Nothing is mirrored first; `colab-devsync sync` does that.
    """
    settings = current()
    screen = _Screen(settings)
    with (
        Talk(settings, notified=screen.notified) as talk,
        _Interrupts(talk.client) as interrupts,
    ):
        params = {"folder": talk.folder, "argv": argv, "cwd": cwd, "stdin": True}
        started = talk.client.request("colabDevsync/exec", params)
        interrupts.run = started["run"]
        sender = _Sender(talk, started["run"])
        threading.Thread(target=sender.run, name="devsync-stdin", daemon=True).start()
        final = talk.client.send_request("colabDevsync/wait", {"job": started["job"]})
        body = talk.client.run_until(final, on_wake=interrupts.pass_on)
    code = _exit_code(body)
    if settings.json:
        output.json_line({"exitCode": code})
    return code


def _exit_code(body: dict[str, Any]) -> int:
    if body["state"] == "cancelled":
        raise KeyboardInterrupt
    if body["state"] == "failed":
        raise RemoteFailure(body["error"])
    return int(body["result"]["exitCode"])


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


class _Screen:
    """Writes the program's output as the bytes it was."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def notified(self, method: str, params: Any) -> None:
        if method != "colabDevsync/output":
            return
        if self._settings.json:
            output.json_line(params)
            return
        stream = sys.stderr if params["stream"] == "stderr" else sys.stdout
        stream.buffer.write(params["text"].encode("utf-8", "surrogateescape"))
        stream.buffer.flush()


class _Sender:
    """Carries our stdin to the program; each piece waits until the last was taken."""

    def __init__(self, talk: Talk, run: str) -> None:
        self._client = talk.client
        self._run = run

    def run(self) -> None:
        decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        try:
            while data := _read_stdin():
                self._send(text=decode(data))
            self._send(text=decode(b"", True), eof=True)
        except DevsyncError:
            pass  # the program or the daemon has ended; the main thread says so

    def _send(self, **body: Any) -> None:
        params = {"run": self._run, **body}
        self._client.send_request("colabDevsync/input", params).result()


def _read_stdin() -> bytes:
    try:
        return os.read(0, _CHUNK)
    except OSError:
        return b""  # closed by whoever started us
