"""The project folder on the VM: what changes it.

A put is checked, staged, synced and renamed; the target holds its old bytes or the
new ones, never anything between. Nothing is touched whose content the client did not
announce in `accept`.
"""

from __future__ import annotations

import os
import stat
import sys
from functools import partial
from typing import List, NamedTuple, Optional, Tuple, Union

assert sys.platform != "win32"  # runs on the VM only

from . import delta, hashing, wire
from .manifest import VOUCHED, Changes, Manifest, seen
from .ownership import Ownership, Stale
from .paths import STATE_DIR, Folders, entry_stat, link_stays_inside, split
from .refusal import guarded
from .removal import Removal, remove_empty_folders
from .staging import Content, Part, Payload, Staged, Staging
from .view import View
from .wire import Entry, Result

_SLICE = 32  # entries handled at once; bounds the open files
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK

Step = Union[Result, Staged]


class _Target(NamedTuple):
    """What stands at an entry's path, and where that is."""

    folder: Optional[int]  # None while the folder does not exist
    name: str
    now: Optional[os.stat_result]
    held: str


class Tree:
    """Any thread may call; one path must not be put from two threads at once."""

    def __init__(self, root: str) -> None:
        """Makes the root and our folder in it. OSError if that is not possible."""
        self.root = root
        self.state = os.path.join(root, STATE_DIR)
        os.makedirs(self.state, mode=0o700, exist_ok=True)
        _write_once(os.path.join(self.state, ".gitignore"), "*\n")
        self._root_fd = os.open(root, os.O_RDONLY)
        self.staging = Staging(os.path.join(self.state, "staging"))
        self.ownership = Ownership(self.state)
        self.manifest = Manifest(os.path.join(self.state, "manifest.log"))
        self.view = View(root, self._root_fd, self.manifest)
        self._removal = Removal(self._root_fd, self.view)
        self._umask = os.umask(0o022)
        os.umask(self._umask)

    def start(self, trust: bool) -> None:
        """After the root is ours: reads and cleans up what the last agent left.

        `trust` = files whose time stamps are known need not be read again.
        """
        self.manifest.load(trust)
        self.staging.clean(self._root_fd)

    def is_there(self) -> bool:
        """Whether our folder is still in the root: somebody may have removed both, or
        put another folder in the root's place. A look at the disk."""
        try:
            for name in ("lock", "staging"):
                os.stat(os.path.join(self.state, name))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True  # what it is will be said of the file that is put
        return True

    def delete(self, wanted: List[Tuple[str, List[str]]]) -> List[Result]:
        """Removes (path, accept) pairs, then the folders this left empty."""
        changes: Changes = []
        try:
            with self.ownership:
                return self._removal.remove(wanted, changes)
        except Stale as exc:
            return [(wire.STALE, "", str(exc))] * len(wanted)
        finally:
            self.manifest.record(changes)

    # --- put ----------------------------------------------------------------------

    def put(
        self, entries: List[Entry], data: bytes, durable: bool, exact: bool = False
    ) -> List[Result]:
        """Writes a batch: in slices, all are staged, then synced, then renamed.

        `exact` = each hash was computed from these very bytes, in one piece of memory;
        what carried both here vouches for them, so they are not hashed again.
        """
        batch: List[Tuple[Entry, Payload]] = []
        offset = 0
        view = memoryview(data)
        for entry in entries:
            batch.append((entry, view[offset : offset + entry.length]))
            offset += entry.length
        results: List[Result] = []
        for start in range(0, len(batch), _SLICE):
            results += self._put(batch[start : start + _SLICE], durable, exact)
        return results

    def verdict(self, entry: Entry) -> Optional[Result]:
        """The result of a put that need not wait for its payload, if so."""

        def judge() -> Optional[Result]:
            with Folders(self._root_fd) as folders:
                return self._judge(entry, self._target(entry, folders))

        return guarded(judge)

    def put_assembled(self, entry: Entry, name: str, durable: bool) -> Result:
        """Puts a payload that was assembled in the staging folder from parts."""
        try:
            return self._put([(entry, Part(name))], durable)[0]
        finally:
            self.staging.remove(name)

    def _put(
        self, batch: List[Tuple[Entry, Payload]], durable: bool, exact: bool = False
    ) -> List[Result]:
        steps: List[Step] = []
        results: List[Result] = []
        with Folders(self._root_fd) as folders:
            try:
                for entry, payload in batch:
                    step = partial(self._stage, entry, payload, folders, exact)
                    steps.append(guarded(step))
                results = self._finish(steps, durable)
            finally:
                for index, done in enumerate(steps):
                    if isinstance(done, Staged):
                        renamed = bool(results) and results[index][0] == wire.OK
                        self.staging.discard(done, renamed)
        return results

    def _stage(
        self, entry: Entry, payload: Payload, folders: Folders, exact: bool
    ) -> Step:
        target = self._target(entry, folders)
        settled = self._judge(entry, target)
        if settled is not None:
            return settled
        if entry.kind == wire.LINK:
            return self._stage_link(entry, payload, target, folders)
        known_hash = entry.hash if exact and entry.kind == wire.FILE else ""
        return self._stage_file(entry, payload, target, folders, known_hash)

    def _judge(self, entry: Entry, target: _Target) -> Optional[Result]:
        if target.held == entry.hash:
            self._adopt(entry, target)
            return (wire.SAME, target.held, "")
        if target.held not in entry.accept:
            return (wire.CONFLICT, target.held, "")
        if entry.kind == wire.DELTA and target.held != entry.base:
            return (wire.NEED_FULL, target.held, "")
        return None

    def _target(self, entry: Entry, folders: Folders) -> _Target:
        parts = split(entry.path)
        folder = folders.parent(parts, create=False)
        if folder is None:
            return _Target(None, parts[-1], None, "")
        now, held = self.view.current(entry.path, parts[-1], folder)
        return _Target(folder, parts[-1], now, held)

    def _stage_link(
        self, entry: Entry, payload: Payload, target: _Target, folders: Folders
    ) -> Step:
        if isinstance(payload, Part):
            return (wire.REFUSED, "", "a link does not travel in parts")
        leads_to = bytes(payload).decode("utf-8", "surrogateescape")
        if not link_stays_inside(entry.path, leads_to):
            return (wire.REFUSED, "", "the link leads out of the project")
        if hashing.of_link(leads_to) != entry.hash:
            return (wire.BAD_HASH, target.held, "")
        folder = _made(entry, folders)
        name = self.staging.link(leads_to)
        return Staged(entry, folder, target.name, target.now, name, -1, 0)

    def _stage_file(
        self,
        entry: Entry,
        payload: Payload,
        target: _Target,
        folders: Folders,
        known_hash: str,
    ) -> Step:
        try:
            content = self._content(entry, payload, target, known_hash)
        except delta.DeltaError as exc:
            return (wire.NEED_FULL, target.held, str(exc))
        try:
            about = content.settle(self._mode(entry.executable, target.now))
            # The hash may be that of the bytes on their way to the disk; the size is
            # what arrived there.
            if content.hash() != entry.hash or about.st_size != entry.size:
                self.staging.discard(content)
                bad = wire.NEED_FULL if entry.kind == wire.DELTA else wire.BAD_HASH
                return (bad, target.held, "")
            folder = target.folder
            if folder is None:
                folder = _made(entry, folders)
        except BaseException:
            self.staging.discard(content)
            raise
        return Staged(
            entry,
            folder,
            target.name,
            target.now,
            content.temporary,
            content.fd,
            about.st_mtime_ns,
        )

    def _content(
        self, entry: Entry, payload: Payload, target: _Target, known_hash: str
    ) -> Content:
        if entry.kind != wire.DELTA:
            return self.staging.file(payload, known_hash)
        base = os.open(target.name, _READ_FLAGS, dir_fd=target.folder)
        return self.staging.patched(payload, base, entry.size)

    def _mode(
        self, executable: Optional[bool], before: Optional[os.stat_result]
    ) -> int:
        if executable is None:
            executable = before is not None and bool(before.st_mode & 0o100)
        return (0o777 if executable else 0o666) & ~self._umask

    def _adopt(self, entry: Entry, target: _Target) -> None:
        """What was already so joins the manifest, with the right exec bit."""
        now = target.now
        if now is not None and entry.executable is not None:
            mode = self._mode(entry.executable, now)
            if stat.S_ISREG(now.st_mode) and mode != stat.S_IMODE(now.st_mode):
                fd = os.open(target.name, _READ_FLAGS, dir_fd=target.folder)
                try:
                    os.fchmod(fd, mode)
                    now = os.fstat(fd)
                finally:
                    os.close(fd)
        old = self.manifest.get(entry.path)
        if now is not None and (old is None or not old.vouches_for(now)):
            self.manifest.record([(entry.path, seen(target.held, now))])

    # --- from the staging folder to the name --------------------------------------

    def _finish(self, steps: List[Step], durable: bool) -> List[Result]:
        changes: Changes = []
        if durable:
            steps = [
                guarded(partial(_synced, step)) if isinstance(step, Staged) else step
                for step in steps
            ]
        try:
            with self.ownership:
                return [
                    guarded(partial(self._rename, step, changes))
                    if isinstance(step, Staged)
                    else step
                    for step in steps
                ]
        except Stale as exc:
            return [(wire.STALE, "", str(exc))] * len(steps)
        finally:
            self.manifest.record(changes)

    def _rename(self, step: Staged, changes: Changes) -> Result:
        try:
            return self._rename_in(step.folder, step, changes)
        except FileNotFoundError:
            # A delete found the folder empty meanwhile; it can't now.
            with Folders(self._root_fd) as folders:
                return self._rename_in(_made(step.entry, folders), step, changes)

    def _rename_in(self, folder: int, step: Staged, changes: Changes) -> Result:
        if folder != step.folder:
            step = step._replace(folder=folder)
        now = entry_stat(step.name, folder)
        if not _same_file(step.before, now):
            now, held = self.view.current(step.entry.path, step.name, folder)
            if held == step.entry.hash:
                return (wire.SAME, held, "")
            if held not in step.entry.accept:
                return (wire.CONFLICT, held, "")
        if now is not None and stat.S_ISDIR(now.st_mode):
            remove_empty_folders(step.name, folder)
        self.staging.move(step)
        now = os.stat(step.name, dir_fd=folder, follow_symlinks=False)
        looked_ns = VOUCHED if now.st_mtime_ns == step.mtime_ns else None
        entry = seen(step.entry.hash, now, looked_ns)
        changes.append((step.entry.path, entry))
        return (wire.OK, step.entry.hash, "")


def _made(entry: Entry, folders: Folders) -> int:
    """The entry's folder, made if need be."""
    folder = folders.parent(split(entry.path), create=True)
    assert folder is not None
    return folder


def _synced(step: Staged) -> Staged:
    if step.fd >= 0:
        os.fsync(step.fd)
    return step


def _same_file(before: Optional[os.stat_result], now: Optional[os.stat_result]) -> bool:
    if before is None or now is None:
        return before is now
    return (before.st_ino, before.st_size, before.st_mtime_ns, before.st_ctime_ns) == (
        now.st_ino,
        now.st_size,
        now.st_mtime_ns,
        now.st_ctime_ns,
    )


def _write_once(path: str, text: str) -> None:
    try:
        with open(path, "x", encoding="ascii") as stream:
            stream.write(text)
    except FileExistsError:
        pass
