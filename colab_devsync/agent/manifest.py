"""What the VM holds of the files we put there.

An entry remembers the stat of a file when its hash was known, so looking at the whole
manifest is one stat per file. The log on disk lets the next agent start with it; it
is a cache: losing it costs hashing, never correctness.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
import time
from typing import Dict, Iterable, List, NamedTuple, Optional, Tuple

assert sys.platform != "win32"  # runs on the VM only

from . import hashing

VOUCHED = 1 << 62  # `looked_ns` of what we wrote: its mtime is ours to recognise
_RACY_NS = 50_000_000  # a change this soon after a look may share its time stamps


class Seen(NamedTuple):
    """A file's hash and the stat that vouches for it."""

    hash: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    looked_ns: int

    def vouches_for(self, now: os.stat_result) -> bool:
        return (
            self.size == now.st_size
            and self.mtime_ns == now.st_mtime_ns
            and self.ctime_ns == now.st_ctime_ns
            and self.inode == now.st_ino
            and self.ctime_ns + _RACY_NS < self.looked_ns
        )


class Change(NamedTuple):
    """What a look found out, and the entry it was compared with."""

    path: str
    known: Optional[Seen]
    entry: Optional[Seen]


Changes = List[Tuple[str, Optional[Seen]]]
"""What the manifest has to know; None forgets."""


def seen(
    content_hash: str, now: os.stat_result, looked_ns: Optional[int] = None
) -> Seen:
    return Seen(
        content_hash,
        now.st_size,
        now.st_mtime_ns,
        now.st_ctime_ns,
        now.st_ino,
        time.time_ns() if looked_ns is None else looked_ns,
    )


def hash_at(name: str, dir_fd: int, now: os.stat_result) -> str:
    """Reads and hashes a file or link; "other" for what is neither."""
    if stat.S_ISLNK(now.st_mode):
        return hashing.of_link(os.readlink(name, dir_fd=dir_fd))
    if not stat.S_ISREG(now.st_mode):
        return "other"
    # O_NONBLOCK: it may have become a pipe since.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    fd = os.open(name, flags, dir_fd=dir_fd)
    with os.fdopen(fd, "rb", buffering=0) as stream:
        return hashing.of_stream(stream)


class Manifest:
    """Entries by path, their digest, and the log. Any thread may call."""

    def __init__(self, log_path: str) -> None:
        self._lock = threading.Lock()
        self._seen: Dict[str, Seen] = {}
        self._digest = 0
        self._log_path = log_path
        self._log = -1
        self._log_size = 0

    def load(self, trust: bool = True) -> None:
        """Reads the last agent's log and starts a compact one.

        Without `trust`, no time stamp vouches for a file: all are hashed again.
        """
        try:
            with open(self._log_path, encoding="ascii", errors="replace") as log:
                lines = log.readlines()
        except FileNotFoundError:
            lines = []
        for line in lines:
            try:
                path, entry = _parse(line)
            except (ValueError, TypeError):
                break  # a line torn by a crash; what follows is not trusted
            self._set(path, entry)
        if not trust:
            for path, entry in self._seen.items():
                self._seen[path] = entry._replace(looked_ns=0)
        self._rewrite()

    def _rewrite(self) -> None:
        fresh = self._log_path + ".new"
        with open(fresh, "w", encoding="ascii") as log:
            log.write(_lines(self._seen.items()))
        os.replace(fresh, self._log_path)
        self._log = os.open(self._log_path, os.O_WRONLY | os.O_APPEND)
        self._log_size = os.fstat(self._log).st_size

    def __len__(self) -> int:
        return len(self._seen)

    def get(self, path: str) -> Optional[Seen]:
        return self._seen.get(path)

    def paths(self) -> List[str]:
        with self._lock:
            return list(self._seen)

    def hashes(self) -> List[Tuple[str, str]]:
        with self._lock:
            return [(path, entry.hash) for path, entry in self._seen.items()]

    @property
    def digest(self) -> int:
        return self._digest

    def record(self, changes: Changes) -> None:
        """Sets entries (None forgets) and appends them to the log in one write."""
        if not changes:
            return
        with self._lock:
            self._record(changes)

    def observe(self, changes: List[Change]) -> None:
        """Like record, but leaves alone what was put or deleted during the look."""
        with self._lock:
            self._record(
                [
                    (path, entry)
                    for path, known, entry in changes
                    if self._seen.get(path) is known
                ]
            )

    def forget(self, paths: List[str]) -> None:
        """Takes paths out; the files stay."""
        self.record([(path, None) for path in paths])

    def _record(self, changes: Changes) -> None:
        for path, entry in changes:
            self._set(path, entry)
        self._append(_lines(changes).encode("ascii"))

    def _append(self, lines: bytes) -> None:
        try:
            whole = os.write(self._log, lines) == len(lines)
        except OSError:
            whole = False
        if whole:
            self._log_size += len(lines)
        else:
            # A full disk. What the log lacks is found out again by looking, but a
            # torn line would hide what follows it.
            os.ftruncate(self._log, self._log_size)

    def _set(self, path: str, entry: Optional[Seen]) -> None:
        old = self._seen.pop(path, None)
        if old is not None:
            self._digest = hashing.add(self._digest, -hashing.token(path, old.hash))
        if entry is not None:
            self._seen[path] = entry
            self._digest = hashing.add(self._digest, hashing.token(path, entry.hash))


def _parse(line: str) -> Tuple[str, Optional[Seen]]:
    """ValueError, TypeError if it is not a line of ours."""
    path, *fields = json.loads(line)
    if not fields:
        return str(path), None
    content_hash, *numbers = fields
    return str(path), Seen(str(content_hash), *[int(number) for number in numbers])


def _lines(items: "Iterable[Tuple[str, Optional[Seen]]]") -> str:
    return "".join(
        json.dumps([path] if entry is None else [path, *entry]) + "\n"
        for path, entry in items
    )
