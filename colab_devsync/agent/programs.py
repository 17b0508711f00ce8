"""A foreground program: its output goes down one stream, its input comes up the same.

A client that stops reading stops the program, not the agent; a program that stops
reading stops the client's input, not its signals. When the stream ends, the program's
whole group ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import Any, BinaryIO, Dict, List, NamedTuple, Optional, Set

assert sys.platform != "win32"  # runs on the VM only

from . import kernel, shell, terminal, wire
from .credit import Credit
from .pumps import Input, Link, Output, Send
from .terminal import Terminal

_CREDIT = 1 << 20
_TERMINAL_CREDIT = 128 << 10  # what still comes after a ctrl-C
_GRACE_S = 2.0
_TERMINAL_GRACE_S = 0.5  # a terminal is hung up with its first program


class Programs:
    """Those that run now. Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: Set[_Program] = set()

    def run(self, request: wire.Meta, root: str, reader: BinaryIO, send: Send) -> None:
        """Serves one `exec` on its own stream, to the end."""
        cwd = os.path.join(root, str(request.get("cwd") or "."))
        try:
            started = _start(request, cwd)
        except (OSError, ValueError, TypeError, LookupError) as exc:
            send({"op": "failed", "message": _why(exc, request, cwd)}, b"")
            return
        program = _Program(started, send)
        with self._lock:
            self._running.add(program)
        try:
            send({"op": "started", "pid": started.child.pid}, b"")
            program.serve(reader)
        finally:
            program.end()
            with self._lock:
                self._running.discard(program)

    def end(self) -> None:
        """The agent ends: so do they."""
        with self._lock:
            running = list(self._running)
        for program in running:
            program.hang_up()
        for program in running:
            program.end()


# --- starting -------------------------------------------------------------------------


class _What(NamedTuple):
    """What to start. `file` is looked for on PATH; `argv[0]` may differ."""

    file: str
    argv: List[str]
    cwd: str
    env: Dict[str, str]


class _Started(NamedTuple):
    child: "subprocess.Popen[bytes]"
    terminal: Optional[Terminal]


def _start(request: wire.Meta, cwd: str) -> _Started:
    wanted: Dict[str, str] = request.get("env") or {}
    env = dict(kernel.environment(), **wanted)
    tty: Optional[Dict[str, Any]] = request.get("tty")
    if tty is not None:
        env.update(terminal.variables(str(tty.get("term") or ""), env))
    if request.get("shell"):
        file, argv, env = shell.login(env, {"LD_LIBRARY_PATH", "TERM", *wanted}, cwd)
    else:
        argv = request["argv"]
        file = argv[0]
    what = _What(file, argv, cwd, env)
    return _with_pipes(what) if tty is None else _on_terminal(what, tty)


def _with_pipes(what: _What) -> _Started:
    child = subprocess.Popen(
        what.argv,
        executable=what.file,
        cwd=what.cwd,
        env=what.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        bufsize=0,
    )
    return _Started(child, None)


def _on_terminal(what: _What, tty: Dict[str, Any]) -> _Started:
    rows = tty.get("rows") or terminal.DEFAULT_ROWS
    columns = tty.get("cols") or terminal.DEFAULT_COLUMNS
    made = Terminal(rows, columns)
    try:
        return _Started(made.start(what.file, what.argv, what.cwd, what.env), made)
    except BaseException:
        made.close()
        raise


def _why(exc: Exception, request: wire.Meta, cwd: str) -> str:
    argv = request.get("argv")
    name = argv[0] if isinstance(argv, list) and argv else "(nothing)"
    if request.get("shell"):
        name = "the login shell"
    if isinstance(exc, FileNotFoundError) and not os.path.isdir(cwd):
        return "no folder %s on the VM" % cwd
    if isinstance(exc, FileNotFoundError):
        return "no command %s on the VM" % name
    reason = exc.strerror if isinstance(exc, OSError) else repr(exc)
    return "cannot start %s on the VM: %s" % (name, reason)


# --- serving --------------------------------------------------------------------------


class _Program:
    def __init__(self, started: _Started, send: Send) -> None:
        self._child, self._terminal = started
        self._send = send
        self._lock = threading.Lock()
        self._is_hung_up = False
        self._credit = Credit(_TERMINAL_CREDIT if self._terminal else _CREDIT)
        link = Link(send, self._credit)
        if self._terminal is not None:
            self._outputs = [Output(self._terminal.read, 1, link)]
            keys = os.dup(self._terminal.fd)
            self._input = Input(keys, self._terminal.end_of_file, link)
        else:
            assert self._child.stdin
            assert self._child.stdout
            assert self._child.stderr
            self._outputs = [
                Output(self._child.stdout.read, 1, link),
                Output(self._child.stderr.read, 2, link),
            ]
            stdin = os.dup(self._child.stdin.fileno())
            self._child.stdin.close()
            os.set_blocking(stdin, False)
            self._input = Input(stdin, b"", link)

    def serve(self, reader: BinaryIO) -> None:
        """Until the client hangs up."""
        self._input.start()
        for output in self._outputs:
            output.start()
        threading.Thread(
            target=self._report, name="devsync-exec-exit", daemon=True
        ).start()
        for frame in iter(lambda: wire.read_frame(reader), None):
            self._take(frame)

    def _report(self) -> None:
        code = self._child.wait()
        for output in self._outputs:
            output.finish(_TERMINAL_GRACE_S if self._terminal else _GRACE_S)
        try:
            self._send({"op": "exit", "code": code if code >= 0 else 128 - code}, b"")
        except OSError:
            pass  # the client is gone

    def _take(self, frame: wire.Frame) -> None:
        """Never waits for the program."""
        meta = frame.meta
        operation = meta.get("op")
        if operation == "input":
            self._input.put(frame.data)
        elif operation == "eof":
            self._input.finish()
        elif operation == "ack":
            self._credit.give(int(meta["bytes"]))
        elif operation == "resize" and self._terminal is not None:
            self._terminal.resize(int(meta["rows"]), int(meta["cols"]))
        elif operation == "signal":
            number = getattr(signal, "SIG" + str(meta.get("name")), None)
            if isinstance(number, signal.Signals):
                self.kill(number)

    def end(self) -> None:
        """Hangs up, then kills what is left of the group."""
        self._credit.close()
        self._input.close()
        self.hang_up()
        try:
            self._child.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            pass
        self.kill(signal.SIGKILL)
        if self._terminal is not None and self._outputs[0].finish(_TERMINAL_GRACE_S):
            self._terminal.close()

    def hang_up(self) -> None:
        """Once: at a second SIGHUP, bash ends without its history and traps."""
        with self._lock:
            if not self._is_hung_up and self._child.poll() is None:
                self.kill(signal.SIGHUP)
                self.kill(signal.SIGCONT)
            self._is_hung_up = True

    def kill(self, number: signal.Signals) -> None:
        """To the whole group, and to what has the terminal's keyboard; what has ended
        already does not mind."""
        groups = {self._child.pid}
        if self._terminal is not None:
            groups |= self._terminal.foreground()
        for group in groups:
            try:
                os.killpg(group, number)
            except (ProcessLookupError, PermissionError):
                pass
