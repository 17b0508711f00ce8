"""Large payloads that arrive in pieces, over several streams, in any order.

The pieces and the list of what arrived outlive the agent, so a transfer that was cut
goes on where it stopped. The content hash is checked by the tree before the rename.
"""

from __future__ import annotations

import os
import threading
from typing import Dict, List, NamedTuple, Optional, Tuple

from . import hashing
from .tree import Tree
from .wire import Entry, Result

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW


def part_name(entry: Entry) -> str:
    """The staging name of a payload: the same content for the same path resumes."""
    about = "\0".join((entry.path, entry.kind, entry.base))
    text = about.encode("utf-8", "surrogateescape")
    return "part-%s-%s" % (entry.hash, hashing.of_bytes(text)[:12])


class _Arriving(NamedTuple):
    fd: int
    log: int
    ranges: Dict[int, int]  # offset -> length


class Parts:
    """Any thread may call."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._lock = threading.Lock()
        self._arriving = {}  # type: Dict[str, _Arriving]

    def have(self, entry: Entry) -> List[Tuple[int, int]]:
        """The (offset, length) ranges that are here already."""
        with self._lock:
            return sorted(self._open(part_name(entry)).ranges.items())

    def add(self, entry: Entry, size: int, offset: int, piece: bytes) -> Optional[Result]:
        """Stores a piece of a payload of `size` bytes; the result if it was the last."""
        name = part_name(entry)
        with self._lock:
            arriving = self._open(name)
        _pwrite_all(arriving.fd, piece, offset)
        with self._lock:
            if self._arriving.get(name) is not arriving:
                return None  # finished by a piece that was sent twice
            os.write(arriving.log, b"%d %d\n" % (offset, len(piece)))
            arriving.ranges[offset] = len(piece)
            if sum(arriving.ranges.values()) < size:
                return None
            del self._arriving[name]
        os.ftruncate(arriving.fd, size)
        os.close(arriving.fd)
        os.close(arriving.log)
        os.unlink(name + ".got", dir_fd=self._tree.staging_fd)
        return self._tree.put_assembled(entry, name)

    def _open(self, name: str) -> _Arriving:
        found = self._arriving.get(name)
        if found is None:
            here = self._tree.staging_fd
            fd = os.open(name, _FLAGS, 0o600, dir_fd=here)
            log = os.open(name + ".got", _FLAGS | os.O_APPEND, 0o600, dir_fd=here)
            ranges = _ranges(os.pread(log, 1 << 24, 0))
            found = self._arriving[name] = _Arriving(fd, log, ranges)
        return found


def _ranges(text: bytes) -> Dict[int, int]:
    ranges = {}  # type: Dict[int, int]
    for line in text.split(b"\n")[:-1]:  # the last may be torn
        offset, length = line.split()
        ranges[int(offset)] = int(length)
    return ranges


def _pwrite_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written
