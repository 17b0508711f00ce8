"""A foreground program: its output goes down one stream, its input comes up the same.

The stream's own window is the back-pressure: a reader that stops reading stops the
program, not the agent. When the stream ends, the program's whole group ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from typing import Any, BinaryIO, Callable, List, Optional

from . import probe, wire

_CHUNK = 64 << 10
_GRACE_S = 2.0

Send = Callable[[wire.Meta, bytes], None]


def run(request: wire.Meta, root: str, reader: BinaryIO, send: Send) -> None:
    """Serves one `exec` on its own stream, to the end."""
    env = probe.environment()
    env.update(request.get("env") or {})
    cwd = os.path.join(root, request.get("cwd") or ".")
    argv = request["argv"]  # type: List[str]
    try:
        child = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
    except (OSError, ValueError) as exc:
        send({"op": "failed", "message": _why(exc, argv, cwd)}, b"")
        return
    send({"op": "started", "pid": child.pid}, b"")
    _Pumps(child, send).serve(reader)


def _why(exc: Exception, argv: List[str], cwd: str) -> str:
    if isinstance(exc, FileNotFoundError) and not os.path.isdir(cwd):
        return "no folder %s on the VM" % cwd
    if isinstance(exc, FileNotFoundError):
        return "no command %s on the VM" % argv[0]
    return "%s: %s" % (argv[0] if argv else "(nothing)", exc)


class _Pumps:
    def __init__(self, child: "subprocess.Popen[bytes]", send: Send) -> None:
        self._child = child
        self._send = send

    def serve(self, reader: BinaryIO) -> None:
        outputs = [
            self._start("out", self._pump, self._child.stdout, 1),
            self._start("err", self._pump, self._child.stderr, 2),
        ]
        self._start("exit", self._report, outputs)
        try:
            self._take_input(reader)
        finally:
            self._end()

    def _start(self, name: str, target: Callable[..., None], *args: Any) -> threading.Thread:
        thread = threading.Thread(
            target=target, args=args, name="devsync-exec-" + name, daemon=True
        )
        thread.start()
        return thread

    def _pump(self, source: BinaryIO, number: int) -> None:
        try:
            for data in iter(lambda: source.read(_CHUNK), b""):
                self._send({"op": "output", "stream": number}, data)
        except OSError:
            pass  # the stream is gone: serve() ends the program

    def _report(self, outputs: List[threading.Thread]) -> None:
        code = self._child.wait()
        for thread in outputs:
            # A grandchild may hold the pipe open for ever; what it says is not ours.
            thread.join(_GRACE_S)
        try:
            self._send({"op": "exit", "code": code if code >= 0 else 128 - code}, b"")
        except OSError:
            pass

    def _take_input(self, reader: BinaryIO) -> None:
        while True:
            frame = wire.read_frame(reader)
            if frame is None:
                return
            operation = frame.meta.get("op")
            if operation == "input":
                self._write(frame.data)
            elif operation == "eof":
                self._close_input()
            elif operation == "signal":
                self._kill(getattr(signal, "SIG" + str(frame.meta.get("name")), None))

    def _write(self, data: bytes) -> None:
        try:
            while data and self._child.stdin:
                data = data[self._child.stdin.write(data) or 0 :]
        except OSError:
            self._close_input()  # the program closed its end

    def _close_input(self) -> None:
        if self._child.stdin:
            try:
                self._child.stdin.close()
            except OSError:
                pass

    def _end(self) -> None:
        """The client is gone: hang up, then kill what is left of the group."""
        self._close_input()
        if self._child.poll() is None:
            self._kill(signal.SIGHUP)
            try:
                self._child.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                pass
        self._kill(signal.SIGKILL)

    def _kill(self, number: Optional[int]) -> None:
        if number is None:
            return
        try:
            os.killpg(self._child.pid, number)
        except (ProcessLookupError, PermissionError):
            pass

