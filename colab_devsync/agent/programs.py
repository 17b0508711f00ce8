"""A foreground program: its output goes down one stream, its input comes up the same.

The stream's own window is the back-pressure: a reader that stops reading stops the
program, not the agent. When the stream ends, the program's whole group ends.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from typing import Any, BinaryIO, Callable, Dict, List, Optional, Set

assert sys.platform != "win32"  # runs on the VM only

from . import probe, wire

_CHUNK = 64 << 10
_GRACE_S = 2.0
_HUNG_UP = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR

Send = Callable[[wire.Meta, bytes], None]


class Programs:
    """Those that run now. Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: Set[_Program] = set()

    def run(self, request: wire.Meta, root: str, reader: BinaryIO, send: Send) -> None:
        """Serves one `exec` on its own stream, to the end."""
        cwd = os.path.join(root, str(request.get("cwd") or "."))
        try:
            child = _start(request, cwd)
        except (OSError, ValueError, TypeError, LookupError) as exc:
            send({"op": "failed", "message": _why(exc, request.get("argv"), cwd)}, b"")
            return
        program = _Program(child, reader, send)
        with self._lock:
            self._running.add(program)
        try:
            send({"op": "started", "pid": child.pid}, b"")
            program.serve()
        finally:
            program.end()
            with self._lock:
                self._running.discard(program)

    def end(self) -> None:
        """The agent ends: so do they."""
        with self._lock:
            running = list(self._running)
        for program in running:
            program.kill(signal.SIGHUP)
        for program in running:
            program.end()


def _start(request: wire.Meta, cwd: str) -> "subprocess.Popen[bytes]":
    env: Dict[str, str] = probe.environment()
    env.update(request.get("env") or {})
    argv: List[str] = request["argv"]
    return subprocess.Popen(
        argv,
        cwd=cwd,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        bufsize=0,
    )


def _why(exc: Exception, argv: object, cwd: str) -> str:
    name = argv[0] if isinstance(argv, list) and argv else "(nothing)"
    if isinstance(exc, FileNotFoundError) and not os.path.isdir(cwd):
        return "no folder %s on the VM" % cwd
    if isinstance(exc, FileNotFoundError):
        return "no command %s on the VM" % name
    reason = exc.strerror if isinstance(exc, OSError) else repr(exc)
    return "cannot start %s on the VM: %s" % (name, reason)


class _Output:
    """Sends one of the program's pipes, on its own thread."""

    def __init__(self, source: Any, number: int, send: Send) -> None:
        self._source = source
        self._number = number
        self._send = send
        self._silent_since: Optional[float] = None  # None while it is sending
        self._thread = threading.Thread(
            target=self._pump, name="devsync-exec-output", daemon=True
        )
        self._thread.start()

    def _pump(self) -> None:
        try:
            while True:
                self._silent_since = time.monotonic()
                data = self._source.read(_CHUNK)
                self._silent_since = None
                if not data:
                    return
                self._send({"op": "output", "stream": self._number}, data)
        except OSError:
            pass  # the stream is gone: serve() ends the program

    def finish(self) -> None:
        """Waits until all is sent.

        A grandchild may hold the pipe open for ever; what it says is not ours.
        """
        while self._thread.is_alive():
            self._thread.join(_GRACE_S / 10)
            since = self._silent_since
            if since is not None and time.monotonic() - since > _GRACE_S:
                return


class _Program:
    def __init__(
        self, child: "subprocess.Popen[bytes]", reader: BinaryIO, send: Send
    ) -> None:
        self._child = child
        self._reader = reader
        self._send = send
        assert child.stdin
        os.set_blocking(child.stdin.fileno(), False)

    def serve(self) -> None:
        """Until the client hangs up."""
        outputs = [
            _Output(self._child.stdout, 1, self._send),
            _Output(self._child.stderr, 2, self._send),
        ]
        threading.Thread(
            target=self._report, args=(outputs,), name="devsync-exec-exit", daemon=True
        ).start()
        while True:
            frame = wire.read_frame(self._reader)
            if frame is None or not self._take(frame):
                return

    def _report(self, outputs: List[_Output]) -> None:
        code = self._child.wait()
        for output in outputs:
            output.finish()
        try:
            self._send({"op": "exit", "code": code if code >= 0 else 128 - code}, b"")
        except OSError:
            pass  # the client is gone

    def _take(self, frame: wire.Frame) -> bool:
        """False if the client hung up meanwhile."""
        operation = frame.meta.get("op")
        if operation == "input":
            return self._write(frame.data)
        if operation == "eof":
            self._close_input()
        elif operation == "signal":
            number = getattr(signal, "SIG" + str(frame.meta.get("name")), None)
            if isinstance(number, signal.Signals):
                self.kill(number)
        return True

    def _write(self, data: bytes) -> bool:
        """Waits for a program that does not read, but not for a client that left."""
        stdin = self._child.stdin
        both = select.poll()
        both.register(self._reader.fileno(), _HUNG_UP)
        while data and stdin and not stdin.closed:
            both.register(stdin.fileno(), select.POLLOUT)
            ready = dict(both.poll())
            if ready.get(self._reader.fileno(), 0) & _HUNG_UP:
                return False
            try:
                data = data[stdin.write(data) or 0 :]
            except OSError:
                self._close_input()  # the program closed its end
        return True

    def _close_input(self) -> None:
        try:
            if self._child.stdin:
                self._child.stdin.close()
        except OSError:
            pass

    def end(self) -> None:
        """Hangs up, then kills what is left of the group."""
        self._close_input()
        if self._child.poll() is None:
            self.kill(signal.SIGHUP)
            try:
                self._child.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                pass
        self.kill(signal.SIGKILL)

    def kill(self, number: signal.Signals) -> None:
        """To the whole group; what has ended already does not mind."""
        try:
            os.killpg(self._child.pid, number)
        except (ProcessLookupError, PermissionError):
            pass
