"""`exec`: any command on the VM, its bytes unchanged in both directions."""

from __future__ import annotations

import codecs
import os
import sys
import threading
from concurrent.futures import Future
from typing import Any

import click

from ..daemon.client import RemoteFailure
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
    with Talk(settings, notified=screen.notified) as talk:
        started = talk.client.request(
            "colabDevsync/exec",
            {
                "folder": talk.folder,
                "argv": list(argv),
                "cwd": cwd,
                "stdin": True,
            },
        )
        sender = _Sender(talk, started["run"])
        threading.Thread(target=sender.run, name="devsync-stdin", daemon=True).start()
        code = _wait(talk, started)
    if settings.json:
        output.json_line({"exitCode": code})
    return code


def _wait(talk: Talk, started: dict[str, Any]) -> int:
    """ctrl-C goes to the program; a second one kills it; a third one leaves it."""
    final = talk.client.send_request("colabDevsync/wait", {"job": started["job"]})
    signals = iter(("INT", "KILL"))
    while True:
        try:
            body = talk.client.run_until(final)
            break
        except KeyboardInterrupt:
            name = next(signals, None)
            if name is None:
                raise
            _signal(talk, started["run"], name)
    if body["state"] == "cancelled":
        raise KeyboardInterrupt
    if body["state"] == "failed":
        raise RemoteFailure(body["error"])
    return int(body["result"]["exitCode"])


def _signal(talk: Talk, run: str, name: str) -> None:
    params = {"run": run, "name": name}
    answered: Future[Any] = talk.client.send_request("colabDevsync/signal", params)
    # Not awaited: the program may end by itself at the same moment.
    answered.add_done_callback(lambda done: done.exception())


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
