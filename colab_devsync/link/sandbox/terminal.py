"""The pty of one program: what `ssh -t` gets. POSIX only, like the sandbox.

The client's terminal modes are not taken over: what a new pty has (and UTF-8 line
editing) is what terminals have had for decades.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import struct
import sys
import threading
from collections.abc import Sequence

import paramiko

from .pumps import CHUNK, spawn, to_pipe

if sys.platform != "win32":
    import fcntl
    import pty
    import termios

# Python code may not run between fork and exec when there are threads; so the new
# process itself makes the pty its controlling terminal.
_TAKE = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "argv = [os.fsencode(word) for word in sys.argv[1:]]; os.execv(argv[0], argv)"
)
_SILENCE_S = 0.1  # the kernel hands output on within this time
_LEFT = 256 * 1024  # bytes; more than a terminal holds
_IUTF8 = 0o40000  # Linux; Python has no name for it


def on_terminal(argv: Sequence[str | bytes]) -> list[str | bytes]:
    """A command line that runs `argv` with the terminal of its stdin in charge."""
    return [sys.executable, "-I", "-S", "-c", _TAKE, *argv]


class Terminal:
    """Implements `Streams`. `resize` from any thread until `close`."""

    def __init__(self, columns: int, rows: int) -> None:
        self._lock = threading.Lock()
        self._is_open = True
        self._master, self.slave, self.name = -1, -1, ""
        self._is_over, self._tell_over = os.pipe()
        if sys.platform != "win32":
            self._master, self.slave = pty.openpty()
            self.name = os.ttyname(self.slave)
        if sys.platform == "linux":
            modes = termios.tcgetattr(self.slave)
            modes[0] |= _IUTF8
            termios.tcsetattr(self.slave, termios.TCSANOW, modes)
        self.resize(columns, rows)

    def resize(self, columns: int, rows: int) -> None:
        size = struct.pack("HHHH", min(rows, 0xFFFF), min(columns, 0xFFFF), 0, 0)
        with self._lock:
            if sys.platform != "win32" and self._is_open:
                fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def start_outputs(self, channel: paramiko.Channel) -> Sequence[threading.Thread]:
        os.close(self.slave)  # the program has it; the last one to close it ends it
        self.slave = -1
        return (spawn("terminal", self._pump, channel),)

    def feed(self, channel: paramiko.Channel) -> None:
        with self._lock:
            if not self._is_open:
                return
            keys = os.dup(self._master)  # our own: `close` may come while we write
        to_pipe(channel, os.fdopen(keys, "wb", buffering=0))

    def finish(self) -> None:
        os.close(self._tell_over)
        self._tell_over = -1

    def close(self) -> None:
        with self._lock:
            if not self._is_open:
                return
            self._is_open = False
            for end in (self._master, self.slave, self._is_over, self._tell_over):
                if end >= 0:
                    os.close(end)

    def _pump(self, channel: paramiko.Channel) -> None:
        """To the last program that has the terminal, or shortly after the first one
        has ended: what it left behind may keep the terminal open for ever."""
        wait_s, left = None, _LEFT
        with selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
            selector.register(self._master, selectors.EVENT_READ)
            selector.register(self._is_over, selectors.EVENT_READ)
            while left > 0:
                ready = {key.fd for key, _ in selector.select(wait_s)}
                if self._is_over in ready:
                    selector.unregister(self._is_over)
                    wait_s = _SILENCE_S
                elif self._master not in ready:
                    return
                if self._master in ready:
                    data = os.read(self._master, CHUNK)
                    if not data:
                        return
                    channel.sendall(data)
                    left -= 0 if wait_s is None else len(data)
