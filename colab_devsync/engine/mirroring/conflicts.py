"""Conflicts: files of ours that somebody changed on the VM. On the engine thread.

The VM's version is fetched and kept beside the project's state, so both versions can
be looked at; nothing is overwritten until a person chooses, and what is then
overwritten here is kept too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ...agent import hashing, wire
from ...core.events import Conflict
from ...errors import DevsyncError, SyncError
from ...remote.client import Reply
from ..loop import EngineLoop
from ..store import Store
from ..uplink import Uplink
from . import tree

_PIECE = 1 << 20
_QUICK = 4 << 20  # bytes; hashed while a person waits
_MAX_COPY = 64 << 20  # bytes; a larger version stays on the VM


class ConflictBook:
    """The open conflicts; survives restarts through the store."""

    def __init__(self, root: Path, store: Store, loop: EngineLoop) -> None:
        self._root = root
        self._store = store
        self._loop = loop
        self._open = store.conflicts()
        self._fetching: dict[str, Conflict] = {}  # found, not shown yet
        self.snapshot = tuple(self)  # for other threads
        self.on_change: Callable[[], None] = lambda: None

    def __contains__(self, path: str) -> bool:
        return path in self._open or path in self._fetching

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Conflict]:
        return iter(sorted(self._open.values(), key=lambda one: one.path))

    def get(self, path: str) -> Conflict:
        """SyncError if there is no such conflict."""
        if path not in self._open:
            raise SyncError(
                f"There is no conflict about {path!r}.",
                "See `colab-devsync conflicts`.",
            )
        return self._open[path]

    def drop_outdated(self, path: str, held: str) -> bool:
        """Ends the conflict if the VM's version is another one by now."""
        shown = self._open.get(path)
        if shown is None or shown.remote_hash == held:
            return False
        self.drop(path)
        return True

    def reload(self) -> None:
        self._open = self._store.conflicts()
        self._changed()

    def add(
        self, path: str, local: str | None, remote: str, uplink: Uplink | None
    ) -> None:
        """Records it, once the VM's version is fetched (or cannot be)."""
        shown = self._open.get(path)
        is_shown = shown is not None and shown.remote_hash == remote
        if is_shown or path in self._fetching:
            return  # several versions of ours were refused for the same reason
        conflict = Conflict(path, local, remote, time.time())
        if uplink is None:
            self._keep(conflict)
            return
        self._fetching[path] = conflict

        def fetched(data: bytes | None) -> None:
            if self._fetching.get(path) is not conflict:
                return  # it ended meanwhile
            del self._fetching[path]
            copy = self._save(path, remote, data) if data is not None else None
            self._keep(replace(conflict, remote_copy=copy))

        fetch(uplink, path, lambda data, error: self._loop.post(lambda: fetched(data)))

    @property
    def is_fetching(self) -> bool:
        return bool(self._fetching)

    def _keep(self, conflict: Conflict) -> None:
        self._open[conflict.path] = conflict
        self._store.keep_conflict(conflict)
        self._changed()

    def drop_settled(self) -> None:
        """Ends conflicts whose file here has become equal to the VM's version; the
        next put finds them so."""
        for conflict in list(self):
            if self.is_here(conflict.path, conflict.remote_hash):
                self.drop(conflict.path)

    def is_here(self, path: str, version: str | None) -> bool:
        """Whether the file here has become that version."""
        try:
            content = tree.read(self._root, path)
        except (OSError, tree.Unstable):
            return False
        return hashing.of_bytes(content.data) == version

    def here(self, path: str) -> Literal["changed", "deleted", "unchanged"]:
        """How the file here stands to what was mirrored last. Any thread; reads the
        file where its stat does not tell, but no large one."""
        now, known = tree.look(self._root, path), self._store.known.get(path)
        if now is None:
            return "deleted"
        if known is None:
            return "changed"
        is_same = known.stat == now
        if now.size <= _QUICK and not known.is_current(now):
            is_same = self.is_here(path, known.hash)
        return "unchanged" if is_same else "changed"

    def drop(self, path: str) -> None:
        self._open.pop(path, None)
        self._fetching.pop(path, None)
        self._store.drop_conflict(path)
        self._changed()

    def _changed(self) -> None:
        self.snapshot = tuple(self)
        self.on_change()

    def _save(self, path: str, version: str, data: bytes) -> str:
        """Keeps a version that is about to be, or might be, overwritten."""
        stem, dot, suffix = path.rpartition(".")
        name = (
            f"{stem}.{version[:8]}.{suffix}"
            if dot and stem
            else f"{path}.{version[:8]}"
        )
        where = self._store.folder / "versions" / name
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_bytes(data)
        return str(where)

    def keep_local_version(self, path: str) -> None:
        """Before the VM's version replaces the file here."""
        try:
            content = tree.read(self._root, path)
        except FileNotFoundError:
            return
        self._save(path, hashing.of_bytes(content.data), content.data)


Fetched = Callable[[bytes | None, DevsyncError | None], None]


def fetch(uplink: Uplink, path: str, done: Fetched) -> None:
    """Reads a file of the VM piece by piece; `done` runs on the reader thread.

    Gives up (None) on what is gone, cannot be read or is larger than 64 MiB.
    """
    pieces: list[bytes] = []

    def ask() -> None:
        offset = sum(map(len, pieces))
        meta = {"op": "read", "path": path, "offset": offset, "size": _PIECE}
        uplink.client.send(meta, b"", replied)

    def replied(reply: Reply) -> None:
        if reply.error is not None:
            done(None, reply.error)
            return
        frame = reply.frame()
        pieces.append(frame.data)
        size = frame.meta.get("size", len(frame.data))
        if (
            frame.meta["kind"] == wire.LINK
            or sum(map(len, pieces)) >= size
            or not frame.data
        ):
            done(b"".join(pieces), None)
        elif size > _MAX_COPY:
            done(None, None)
        else:
            ask()

    ask()


def write_atomically(root: Path, path: str, data: bytes) -> None:
    """Replaces a local file in one step; its old permissions stay. OSError."""
    name = tree.absolute(root, path)
    os.makedirs(os.path.dirname(name), exist_ok=True)
    temporary = f"{name}.{os.getpid()}~"  # a name that is never mirrored
    try:
        with open(temporary, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if os.path.exists(name):
            os.chmod(temporary, os.stat(name).st_mode & 0o7777)
        os.replace(temporary, name)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
