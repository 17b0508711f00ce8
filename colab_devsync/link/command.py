"""Provider `command`: SSH over the standard streams of any program.

The program is started without a shell, and ended together with its children when the
connection ends. Works on Windows too, where pipes can be neither selected nor woken:
hence a thread for each pipe, and a socket pair towards SSH.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from ..core.events import Ask
from ..errors import ConfigError, ConnectFailed, LinkError
from .base import Connection
from .hostkeys import Trust
from .keys import identities
from .ssh import Endpoint, open_connection
from .wire import SocketWire

_PIECE = 256 * 1024
_BUFFER = 1 << 20
_TAIL = 800
_LAST_WORDS_S = 1.0  # for its exit status after it closed its output
_GRACE_S = 2.0  # between asking it to end and making it


class CommandLink:
    """Implements `Link` of link/base.py."""

    def __init__(
        self,
        argv: Sequence[str],
        endpoint: Endpoint,
        trust: Trust,
        identity_file: str | None,
    ) -> None:
        self._argv = tuple(argv)
        self._endpoint = endpoint
        self._trust = trust
        self._identity_file = identity_file

    @property
    def label(self) -> str:
        return self._endpoint.label

    def connect(self, ask: Ask, timeout_s: float) -> Connection:
        """ConfigError: there is no such program."""
        with identities(self._identity_file, Path.home()) as keys:
            wire = CommandWire(self._argv)
            try:
                return open_connection(
                    wire,
                    self._endpoint,
                    self._trust,
                    keys,
                    ask=ask,
                    timeout_s=timeout_s,
                )
            except ConnectFailed as error:
                raise _explained(error, self._argv, wire) from error

    def place(self, path: str) -> str:
        return path

    def close(self) -> None:
        """The program ended with its connection."""


def command_name(argv: Sequence[str]) -> str:
    """The command for people and for pins."""
    return f"`{shlex.join(argv)}`"


def _explained(
    error: ConnectFailed, argv: Sequence[str], wire: CommandWire
) -> LinkError:
    """What the program said tells more than that the bytes ended."""
    said, status = wire.stderr_tail(), wire.exit_status
    quoted = f'; it said "{said}"' if said else ""
    hint = "run the command of `proxy_command` in a terminal: it must print a line "
    hint += "that starts with SSH-2.0 and then wait"
    name = command_name(argv)
    if status is not None:
        end = f"signal {-status}" if status < 0 else f"code {status}"
        return ConnectFailed(f"the command {name} ended with {end}{quoted}", hint)
    return ConnectFailed(f"{error.message}{quoted}", hint)


class CommandWire:
    """A `Wire` to the standard streams of a program that it starts and ends."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._process = _start(argv)
        near, self._far = socket.socketpair()
        for end in (near, self._far):
            for side in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                with contextlib.suppress(OSError):  # more than this system admits
                    end.setsockopt(socket.SOL_SOCKET, side, _BUFFER)
        self._near = SocketWire(near)
        self.recv = self._near.recv
        self.send = self._near.send
        self._errors = bytearray()
        self._closing = threading.Lock()
        self.exit_status: int | None = None  # if it ended by itself
        self._quoting = threading.Thread(
            target=self._keep_errors, name="devsync-command-errors", daemon=True
        )
        self._quoting.start()  # before the pumps: one waits for it
        self._pumps = (
            threading.Thread(
                target=self._pump_out, name="devsync-command-out", daemon=True
            ),
            threading.Thread(
                target=self._pump_in, name="devsync-command-in", daemon=True
            ),
        )
        for thread in self._pumps:
            thread.start()

    def close(self) -> None:
        if not self._closing.acquire(blocking=False):
            return
        self._near.close()  # wakes who reads and writes
        threading.Thread(
            target=self._end, name="devsync-command-end", daemon=True
        ).start()

    def stderr_tail(self) -> str:
        """The last lines it wrote there, as one."""
        text = bytes(self._errors).decode("utf-8", "replace")
        return " / ".join(line.strip() for line in text.splitlines() if line.strip())

    # --- threads ------------------------------------------------------------------

    def _pump_out(self) -> None:
        """From the program to SSH, until the program closes its output."""
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):  # SSH has left
            while data := self._process.stdout.read(_PIECE):
                self._far.sendall(data)
        if not self._closing.locked():
            # so that an error can say how it ended, and its last words
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.exit_status = self._process.wait(_LAST_WORDS_S)
            self._quoting.join(_LAST_WORDS_S)
        with contextlib.suppress(OSError):
            self._far.shutdown(socket.SHUT_WR)

    def _pump_in(self) -> None:
        """From SSH to the program, until SSH closes."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # the program reads no more
            while data := self._far.recv(_PIECE):
                view = memoryview(data)
                while view:
                    view = view[self._process.stdin.write(view) :]

    def _keep_errors(self) -> None:
        assert self._process.stderr is not None
        while data := self._process.stderr.read(_PIECE):
            self._errors += data
            del self._errors[:-_TAIL]

    def _end(self) -> None:
        """Ends the program and what it started, then lets go of its pipes."""
        process = self._process
        _stop(process)
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
        _kill_rest(process)
        process.wait()
        threads = (*self._pumps, self._quoting)
        for thread in threads:
            # A descendant that left its session may hold a pipe; it is not ours.
            thread.join(_GRACE_S)
        self._far.close()
        pipes = (process.stdout, process.stdin, process.stderr)
        for pipe, thread in zip(pipes, threads, strict=True):
            if pipe is not None and not thread.is_alive():
                with contextlib.suppress(OSError):  # what was never taken
                    pipe.close()


def _start(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    """In a session of its own, so that its children can be ended with it."""
    program = shutil.which(argv[0])
    if program is None:
        raise ConfigError(
            f"there is no program {argv[0]!r}, which `proxy_command` in [link] starts",
            "install it, or write its full path; arguments are items of the list",
        )
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    try:
        return subprocess.Popen(
            [program, *argv[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=sys.platform != "win32",
            creationflags=flags,
        )
    except OSError as error:
        raise ConfigError(
            f"cannot start {program}: {error.strerror or error}",
            "correct `proxy_command` in [link]",
        ) from error


def _stop(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        # there is no polite way that reaches a program without a window
        argv = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
        subprocess.run(argv, capture_output=True, check=False, creationflags=_NO_WINDOW)
    else:
        _signal_all(process, signal.SIGTERM)


def _kill_rest(process: subprocess.Popen[bytes]) -> None:
    if sys.platform != "win32":
        _signal_all(process, signal.SIGKILL)


if sys.platform == "win32":
    _NO_WINDOW = subprocess.CREATE_NO_WINDOW
else:

    def _signal_all(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # all gone
            os.killpg(process.pid, number)
