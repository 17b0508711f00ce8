"""The terminal in front of the person: raw mode, its size, and what it can do.

On the main thread, but `read`, which blocks on the thread that reads the keys. Whatever
ends the command, the terminal is again what it was: an exception, SIGTERM, SIGHUP.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

if sys.platform == "win32":
    from . import console
else:
    import termios
    import tty

_CHUNK = 65536
_COMMON_KIND = "xterm-256color"
# For a program that could not do it itself any more: the main screen, visible cursor,
# no mouse reports, no bracketed paste, plain keys and letters.
_TIDY = (
    "\x1b[?1047l\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l"
    "\x1b[?1l\x1b>\x1b[0m\r\n"
)


class LocalTerminal:
    """Our stdin, terminal or not. Use as a context manager around what may be raw."""

    def __init__(self, on_resize: Callable[[], None]) -> None:
        """`on_resize` is called in a signal handler; not at all on Windows."""
        self.is_terminal = sys.stdin is not None and sys.stdin.isatty()
        self.was_raw = False
        self._on_resize = on_resize
        self._modes: Any = None  # as they were; None while not raw
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> LocalTerminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def raw(self) -> None:
        """From now on every key is passed on as it is. Idempotent; does nothing where
        there is no terminal."""
        if not self.is_terminal or self._modes is not None:
            return
        self.was_raw = True
        if sys.platform == "win32":
            self._modes = console.raw()
        else:
            self._modes = termios.tcgetattr(0)
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
                self._handlers[number] = signal.signal(number, _end)
            for number in (signal.SIGWINCH, signal.SIGCONT):
                self._handlers[number] = signal.signal(number, self._woken)
            tty.setraw(0, termios.TCSADRAIN)

    def _woken(self, number: int, _frame: FrameType | None) -> None:
        if sys.platform != "win32":
            if number == signal.SIGCONT:  # the shell had it meanwhile
                tty.setraw(0, termios.TCSADRAIN)
            self._on_resize()

    def _restore(self) -> None:
        if self._modes is None:
            return
        if sys.platform == "win32":
            console.restore(self._modes)
        else:
            for number in self._handlers:
                signal.signal(number, signal.SIG_IGN)  # not half-way
            with contextlib.suppress(termios.error):  # its window has been closed
                termios.tcsetattr(0, termios.TCSADRAIN, self._modes)
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
        self._modes = None

    def tidy(self) -> None:
        """After a program that was cut off, if the terminal was its."""
        if self.was_raw and sys.stdout.isatty():
            sys.stdout.write(_TIDY)
            sys.stdout.flush()

    def read(self) -> bytes:
        """What was typed; b"" at the end."""
        if sys.platform == "win32" and self._modes is not None:
            return console.read()
        try:
            return os.read(0, _CHUNK)
        except OSError:
            return b""  # closed by whoever started us


def size() -> tuple[int, int] | None:
    """(rows, columns) of the terminal we are shown in, if there is one."""
    for fd in (1, 0, 2):
        try:
            columns, rows = os.get_terminal_size(fd)
        except OSError:
            continue
        if rows > 0 and columns > 0:
            return rows, columns
    return None


def kind() -> str:
    """As in TERM."""
    return os.environ.get("TERM") or _COMMON_KIND


def colours() -> Mapping[str, str]:
    """The variable that says how many colours it has, where that is known."""
    depth = os.environ.get("COLORTERM")
    if depth is None and os.environ.get("WT_SESSION"):  # Windows Terminal
        depth = "truecolor"
    return {"COLORTERM": depth} if depth else {}


class Escape:
    """`Enter ~ .` leaves, `Enter ~ ~` is one ~, as in ssh: a way out when the link
    hangs and no key reaches the VM."""

    def __init__(self) -> None:
        self._at_start = True  # of a line
        self._held = False  # a ~ that may become an escape

    def feed(self, data: bytes) -> bytes | None:
        """What to pass on; None = leave."""
        passed = bytearray()
        for byte in data:
            if self._held:
                self._held = False
                if byte == ord("."):
                    return None
                if byte != ord("~"):
                    passed += b"~"
            elif self._at_start and byte == ord("~"):
                self._held = True
                continue
            passed.append(byte)
            self._at_start = byte in b"\r\n"
        return bytes(passed)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
