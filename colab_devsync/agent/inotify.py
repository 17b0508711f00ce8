"""The kernel's own news about folders, through ctypes: Python has no module for it."""

from __future__ import annotations

import os
import struct
import sys
from typing import Iterator, NamedTuple

try:
    import ctypes
except ImportError:  # a Python that was built without libffi
    ctypes = None  # type: ignore[assignment]

assert sys.platform != "win32"  # runs on the VM only

ATTRIB = 0x4  # a time that is set afterwards, as copying programs do
CLOSE_WRITE = 0x8
MOVED_FROM = 0x40
MOVED_TO = 0x80
CREATE = 0x100
DELETE = 0x200
DELETE_SELF = 0x400
MOVE_SELF = 0x800
OVERFLOW = 0x4000
IGNORED = 0x8000
ISDIR = 0x40000000
_ONLYDIR = 0x1000000
_MASK = ATTRIB | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE
_MASK |= DELETE | DELETE_SELF | MOVE_SELF
_HEAD = struct.Struct("iIII")
_BUFFER = 256 << 10


class News(NamedTuple):
    watch: int
    mask: int
    name: str


class Inotify:
    """OSError where there is none."""

    def __init__(self) -> None:
        try:
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._add = self._libc.inotify_add_watch
            start = self._libc.inotify_init1
        except (AttributeError, TypeError) as exc:
            raise OSError("this system has no inotify") from exc
        self.fd: int = start(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise _failure()

    def add(self, folder: str) -> int:
        """Watches one folder, not what is below. OSError: gone, or too many."""
        watch: int = self._add(self.fd, os.fsencode(folder), _MASK | _ONLYDIR)
        if watch < 0:
            raise _failure()
        return watch

    def read(self) -> Iterator[News]:
        """What has happened; nothing if nothing has."""
        try:
            data = os.read(self.fd, _BUFFER)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            watch, mask, _, size = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            name = data[at : at + size].rstrip(b"\0")
            at += size
            yield News(watch, mask, os.fsdecode(name))

    def close(self) -> None:
        os.close(self.fd)


def _failure() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
