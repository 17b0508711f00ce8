"""The Windows console as a terminal: VT sequences in both directions, no line editing.

Keys are read as UTF-16, because reading UTF-8 from a console loses what is not ASCII.
"""

from __future__ import annotations

import codecs
import ctypes
import sys
from ctypes import wintypes
from dataclasses import dataclass

assert sys.platform == "win32"

_STDIN, _STDOUT = -10, -11
_KEYS_AS_VT = 0x0200
_SELECTING = 0x0040 | 0x0080  # quick edit needs the extended flags
_OUTPUT = 0x0001 | 0x0004 | 0x0008  # processed, VT, no return at a line feed
_UTF8 = 65001
_CHUNK = 4096

_kernel = ctypes.WinDLL("kernel32", use_last_error=True)
_kernel.GetStdHandle.restype = wintypes.HANDLE
_decode = codecs.getincrementaldecoder("utf-16-le")("replace").decode


@dataclass(frozen=True)
class Modes:
    """How the console was. None: that end is no console."""

    stdin: int | None
    stdout: int | None
    code_page: int


def raw() -> Modes:
    """Every key as it is; what is printed may be VT sequences in UTF-8."""
    modes = Modes(_mode(_STDIN), _mode(_STDOUT), _kernel.GetConsoleOutputCP())
    if modes.stdin is not None:
        _set_mode(_STDIN, _KEYS_AS_VT | (modes.stdin & _SELECTING))
    if modes.stdout is not None:
        _set_mode(_STDOUT, _OUTPUT)
    _kernel.SetConsoleOutputCP(_UTF8)
    return modes


def restore(modes: Modes) -> None:
    for number, mode in ((_STDIN, modes.stdin), (_STDOUT, modes.stdout)):
        if mode is not None:
            _set_mode(number, mode)
    _kernel.SetConsoleOutputCP(modes.code_page)


def read() -> bytes:
    """What was typed, as UTF-8; b"" when the console has gone."""
    buffer = (ctypes.c_uint16 * _CHUNK)()
    count = wintypes.DWORD()
    while True:
        done = _kernel.ReadConsoleW(
            _handle(_STDIN), buffer, _CHUNK, ctypes.byref(count), None
        )
        if not done:
            return b""
        # One key may come in two halves (a surrogate pair), and some in none at all.
        text = _decode(bytes(buffer)[: 2 * count.value])
        if text:
            return text.encode("utf-8")


def _handle(number: int) -> wintypes.HANDLE:
    return wintypes.HANDLE(_kernel.GetStdHandle(wintypes.DWORD(number & 0xFFFFFFFF)))


def _mode(number: int) -> int | None:
    mode = wintypes.DWORD()
    found = _kernel.GetConsoleMode(_handle(number), ctypes.byref(mode))
    return mode.value if found else None


def _set_mode(number: int, mode: int) -> None:
    _kernel.SetConsoleMode(_handle(number), wintypes.DWORD(mode))
