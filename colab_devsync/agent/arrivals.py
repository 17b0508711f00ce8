"""A large file that arrives in pieces, in any order, over any number of connections.

Each piece's hash is computed here, as it arrives, and noted with it. The pieces and
the notes outlive the agent and the sender, so that only what is missing is sent again;
the sender compares the hashes with its own file before it relies on them.
"""

from __future__ import annotations

import bisect
import os
import sys
import threading
from typing import Dict, List, Tuple

assert sys.platform != "win32"  # runs on the VM only

from . import hashing
from .staging import PART, write_all
from .write_behind import WriteBehind

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
_READ = 1 << 20

Piece = Tuple[int, str]  # length, hash
Pieces = Dict[int, Piece]  # by offset


def part_name(path: str) -> str:
    """The staging name of what arrives for `path`."""
    text = path.encode("utf-8", "surrogateescape")
    return PART + hashing.of_bytes(text)


def log_name(name: str) -> str:
    """Where the pieces of a staged file are noted."""
    return name + ".got"


def digest(pieces: Pieces) -> str:
    """One hash for all: both sides hold the same bytes in the same pieces."""
    lines = ["%d %d %s\n" % (at, *pieces[at]) for at in sorted(pieces)]
    return hashing.of_bytes("".join(lines).encode("ascii"))


def is_whole(pieces: Pieces, size: int) -> bool:
    end = 0
    for at in sorted(pieces):
        if at != end:
            return False
        end += pieces[at][0]
    return end == size


class Arrival:
    """Any thread may call. `source`: what the sender tells its version of the file
    and this boot of the machine by; what arrived under another one is dropped."""

    def __init__(self, folder: int, name: str, source: str) -> None:
        self.name = name
        self.source = source
        self._noted = Noted()
        self._folder = folder
        self._lock = threading.Lock()
        self._fd = os.open(name, _FLAGS, 0o600, dir_fd=folder)
        try:
            self._log = os.open(
                log_name(name), _FLAGS | os.O_APPEND, 0o600, dir_fd=folder
            )
        except OSError:
            os.close(self._fd)
            raise
        self._disk = WriteBehind(self._fd)
        head = b"of " + source.encode("ascii", "backslashreplace") + b"\n"
        text = _read_all(self._log)
        if text.startswith(head):
            self._noted = _noted(text[len(head) :])
        else:
            os.ftruncate(self._fd, 0)
            os.ftruncate(self._log, 0)
            write_all(self._log, head)

    @property
    def pieces(self) -> Pieces:
        """A copy."""
        with self._lock:
            return dict(self._noted.pieces)

    def write(self, offset: int, piece: bytes) -> None:
        """Stores a piece, then notes it. OSError."""
        found = hashing.of_bytes(piece)
        view, at = memoryview(piece), offset
        while view:
            written = os.pwrite(self._fd, view, at)
            view, at = view[written:], at + written
        self._disk.wrote(offset, len(piece))
        with self._lock:
            write_all(self._log, b"%d %d %s\n" % (offset, len(piece), found.encode()))
            self._noted.note(offset, (len(piece), found))

    def take(self, size: int) -> int:
        """All is here: an open descriptor of the file, cut to `size`."""
        os.ftruncate(self._fd, size)
        return os.dup(self._fd)

    def close(self) -> None:
        os.close(self._fd)
        os.close(self._log)

    def remove(self) -> None:
        """Idempotent; does not close."""
        for name in (log_name(self.name), self.name):
            try:
                os.unlink(name, dir_fd=self._folder)
            except FileNotFoundError:
                pass


class Noted:
    """Pieces that never overlap; cheap however many there are."""

    def __init__(self) -> None:
        self.pieces: Pieces = {}
        self._starts: List[int] = []  # sorted

    def note(self, offset: int, piece: Piece) -> None:
        """A later one replaces what it covers; of what it covers partly nothing
        stays."""
        old = self.pieces.get(offset)
        if old is None or old[0] != piece[0]:
            first = bisect.bisect_left(self._starts, offset)
            if first and self._end(first - 1) > offset:
                first -= 1
            last = bisect.bisect_left(self._starts, offset + piece[0], first)
            for at in self._starts[first:last]:
                del self.pieces[at]
            self._starts[first:last] = [offset]
        self.pieces[offset] = piece

    def _end(self, index: int) -> int:
        at = self._starts[index]
        return at + self.pieces[at][0]


def _noted(text: bytes) -> Noted:
    noted = Noted()
    for line in text.split(b"\n")[:-1]:  # the last may be torn
        try:
            offset, length, found = line.split()
            noted.note(int(offset), (int(length), found.decode("ascii")))
        except ValueError:
            pass  # torn by a full disk: the piece is sent again
    return noted


def _read_all(fd: int) -> bytes:
    blocks: List[bytes] = []
    while True:
        block = os.pread(fd, _READ, sum(map(len, blocks)))
        if not block:
            return b"".join(blocks)
        blocks.append(block)
