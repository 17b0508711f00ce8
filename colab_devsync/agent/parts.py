"""Large payloads that arrive in pieces, over several streams, in any order.

The pieces and the list of what arrived outlive the agent, so a transfer that was cut
goes on where it stopped. The content hash is checked by the tree before the rename.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Dict, List, Optional, Tuple

assert sys.platform != "win32"  # runs on the VM only

from . import hashing, wire
from .staging import PART, write_all
from .tree import Tree
from .wire import Entry, Result

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
_MAX_LOG = 1 << 24


def part_name(entry: Entry) -> str:
    """The staging name of a payload: the same content for the same path resumes."""
    about = "\0".join((entry.path, entry.kind, entry.base))
    text = about.encode("utf-8", "surrogateescape")
    return "%s%s-%s" % (PART, entry.hash, hashing.of_bytes(text)[:12])


class _Arriving:
    """One payload on its way; its lock is held while a piece is written."""

    def __init__(self, name: str, folder: int) -> None:
        self.lock = threading.Lock()
        self._log_name = name + ".got"
        self._folder = folder
        self._fd = os.open(name, _FLAGS, 0o600, dir_fd=folder)
        self._log = os.open(self._log_name, _FLAGS | os.O_APPEND, 0o600, dir_fd=folder)
        self.ranges = _ranges(os.pread(self._log, _MAX_LOG, 0))
        self.is_over = False

    def write(self, offset: int, piece: bytes) -> None:
        view, at = memoryview(piece), offset
        while view:
            written = os.pwrite(self._fd, view, at)
            view, at = view[written:], at + written
        write_all(self._log, b"%d %d\n" % (offset, len(piece)))
        self.ranges[offset] = max(len(piece), self.ranges.get(offset, 0))

    def is_whole(self, size: int) -> bool:
        end = 0
        for offset, length in sorted(self.ranges.items()):
            if offset > end:
                return False
            end = max(end, offset + length)
        return end >= size

    def finish(self, size: int) -> None:
        self.is_over = True
        os.ftruncate(self._fd, size)
        os.close(self._fd)
        os.close(self._log)
        try:
            os.unlink(self._log_name, dir_fd=self._folder)
        except FileNotFoundError:
            pass  # a newer agent of ours was faster


class Parts:
    """Any thread may call."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._lock = threading.Lock()
        self._arriving: Dict[str, _Arriving] = {}

    def have(self, entry: Entry) -> List[Tuple[int, int]]:
        """The (offset, length) ranges that are here already."""
        name = part_name(entry)
        with self._lock:
            if name not in self._arriving and not self._exists(name):
                return []
            arriving = self._open(name)
        with arriving.lock:
            return sorted(arriving.ranges.items())

    def add(
        self,
        entry: Entry,
        size: int,
        offset: int,
        piece: bytes,
        durable: bool = True,
    ) -> Optional[Result]:
        """Stores a piece of a payload of `size` bytes; the result if it was the last.

        The result may come early, when there is nothing to wait for. WireError.
        """
        if offset < 0 or offset + len(piece) > size:
            raise wire.WireError("a piece does not lie in its payload")
        if not self._tree.ownership.is_current():
            return (wire.STALE, "", "the root was taken over by a newer connection")
        name = part_name(entry)
        with self._lock:
            is_new = name not in self._arriving and not self._exists(name)
        if is_new and (result := self._tree.verdict(entry)) is not None:
            return result
        with self._lock:
            arriving = self._open(name)
        with arriving.lock:
            if arriving.is_over:
                return None  # finished by a piece that was sent twice
            try:
                arriving.write(offset, piece)
            except OSError:  # a full disk: make room again for what is smaller
                arriving.finish(0)
                self._tree.staging.remove(name)
                with self._lock:
                    self._arriving.pop(name, None)
                raise
            if not arriving.is_whole(size):
                return None
            arriving.finish(size)
        try:
            return self._tree.put_assembled(entry, name, durable)
        finally:
            with self._lock:
                del self._arriving[name]

    def _exists(self, name: str) -> bool:
        try:
            os.stat(name + ".got", dir_fd=self._tree.staging.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _open(self, name: str) -> _Arriving:
        found = self._arriving.get(name)
        if found is None:
            found = _Arriving(name, self._tree.staging.fd)
            self._arriving[name] = found
        return found


def _ranges(text: bytes) -> Dict[int, int]:
    ranges: Dict[int, int] = {}
    for line in text.split(b"\n")[:-1]:  # the last may be torn
        try:
            offset, length = line.split()
            ranges[int(offset)] = int(length)
        except ValueError:
            pass  # torn by a full disk; the piece is sent again
    return ranges
