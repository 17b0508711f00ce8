"""A folder on the VM that files are pushed to, inside the project or elsewhere.

Whoever pushes names the folder, and may name it through links; below it, no link is
followed. A file is staged beside its target, checked, given its mode and time, and
renamed: its name has the old bytes or the new ones, never anything between.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Union

assert sys.platform != "win32"  # runs on the VM only

from . import hashing, probe, wire
from .arrivals import Arrival, digest, is_whole, log_name, part_name
from .ownership import Ownership, Stale
from .paths import PUSH_DIR, Folders, UnsafePath, entry_stat, link_stays_inside, split
from .refusal import check_replaceable, guarded
from .staging import Staged, Staging, write_all
from .wire import Result

FOLDER = "d"  # an empty folder
SAME, NEW, OTHER = "same", "new", "other"
PARTLY = "partly"  # prefixes NEW or OTHER: some of it is here

_TEMPORARY = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class Wanted(NamedTuple):
    """One thing to be put. A plain list on the wire, in this order."""

    path: str  # "/"-separated, relative to the deposit's folder
    kind: str  # FILE, LINK or FOLDER
    hash: str  # of the content to be; of a file in pieces: their digest
    size: int
    executable: Optional[bool]
    mtime_ns: int
    length: int = 0  # of its payload in the frame's data
    fresh: bool = False  # only if nothing stands there


class Deposit:
    """Any thread may call; one path must not be put from two threads at once."""

    _fd = -1

    def __init__(self, base: str, ownership: Ownership, marker: str) -> None:
        """`base`: an absolute folder that is there. OSError."""
        self.base = base
        self._ownership = ownership
        self._staging_path = os.path.join(base, PUSH_DIR + marker[:8])
        self._lock = threading.Lock()
        self._staging: Optional[Staging] = None
        self._arrivals: Dict[str, Arrival] = {}
        self._umask = os.umask(0o022)
        os.umask(self._umask)
        self._fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY)

    @property
    def staging(self) -> Staging:
        """Made when something is about to arrive."""
        with self._lock:
            if self._staging is None:
                self._staging = Staging(self._staging_path)
                self._staging.clean(self._fd)
            return self._staging

    def close(self) -> None:
        """Takes our folder away again, unless a part in it is still of use."""
        self._let_go()
        try:
            os.rmdir(self._staging_path)  # an agent before us may have made it
        except OSError:
            pass  # there is none, or something in it waits for its rest

    def __del__(self) -> None:
        """Of one that was left (`is_there`), when its last user is done."""
        self._let_go()

    def _let_go(self) -> None:
        """Closes all that is open. Idempotent."""
        with self._lock:
            staging, self._staging = self._staging, None
            for arrival in self._arrivals.values():
                arrival.close()
            self._arrivals.clear()
            base, self._fd = self._fd, -1
        if staging is not None:
            os.close(staging.fd)
        if base >= 0:
            os.close(base)

    def is_there(self) -> bool:
        """Whether our folders are what their names lead to, and not others since."""
        with self._lock:
            held = [(self.base, self._fd)]
            if self._staging is not None:
                held.append((self._staging_path, self._staging.fd))
        try:
            return all(os.path.samestat(os.stat(at), os.fstat(fd)) for at, fd in held)
        except OSError:
            return False

    # --- looks --------------------------------------------------------------------

    def look(self, wishes: List[List[Any]]) -> List[str]:
        """What stands at the target of each wish: a word of ours, or why it cannot be.
        SAME means equal size and time, to the nanosecond; no content is read."""
        found: List[str] = []
        with Folders(self._fd) as folders:
            for raw in wishes:
                folders.trim()
                try:
                    found.append(self._look(Wish(*raw), folders))
                except UnsafePath as exc:
                    found.append(str(exc))
        return found

    def _look(self, wish: "Wish", folders: Folders) -> str:
        parts = split(wish.path)
        if parts[0].startswith(PUSH_DIR):
            raise UnsafePath("%s is reserved" % parts[0])
        folder = folders.parent(parts, create=False)
        now = None if folder is None else entry_stat(parts[-1], folder)
        if now is not None and folder is not None:
            if wish.is_met_by(now, parts[-1], folder):
                return SAME
            if stat.S_ISDIR(now.st_mode):
                raise UnsafePath("%s is a folder on the VM" % wish.path)
            if wish.kind == FOLDER:
                raise UnsafePath("%s is a file on the VM, not a folder" % wish.path)
            check_replaceable(now)
        found = NEW if now is None else OTHER
        if wish.kind == wire.FILE and self._is_partly_here(wish.path):
            return PARTLY + " " + found
        return found

    def _is_partly_here(self, path: str) -> bool:
        name = log_name(os.path.join(self._staging_path, part_name(path)))
        return os.path.lexists(name)

    # --- whole files --------------------------------------------------------------

    def put(self, batch: List[Wanted], data: bytes) -> List[Result]:
        """Stages all, then renames all. Not synced: `sync` at the end does that."""
        view, offset = memoryview(data), 0
        steps: List[Union[Result, Staged]] = []
        with Folders(self._fd) as folders:
            for wanted in batch:
                payload = view[offset : offset + wanted.length]
                offset += wanted.length
                steps.append(guarded(self._step(wanted, payload, folders)))
            return self._rename_all(steps)

    def _step(
        self, wanted: Wanted, payload: "memoryview", folders: Folders
    ) -> Callable[[], Union[Result, Staged]]:
        def step() -> Union[Result, Staged]:
            folders.trim()
            if wanted.kind == FOLDER:
                folders.parent([*split(wanted.path), ""], create=True)
                return (wire.OK, "", "")
            if wanted.kind == wire.LINK:
                return self._stage_link(wanted, payload)
            if hashing.of_bytes(payload) != wanted.hash:
                return (wire.BAD_HASH, "", "")
            return self._stage_file(wanted, payload)

        return step

    def _stage_link(
        self, wanted: Wanted, payload: "memoryview"
    ) -> Union[Result, Staged]:
        target = bytes(payload).decode("utf-8", "surrogateescape")
        if not link_stays_inside(wanted.path, target):
            return (wire.REFUSED, "", "the link leads out of the folder")
        return _staged(wanted, self.staging.link(target), -1)

    def _stage_file(self, wanted: Wanted, payload: "memoryview") -> Staged:
        name = self.staging.fresh_name()
        fd = os.open(name, _TEMPORARY, 0o600, dir_fd=self.staging.fd)
        try:
            write_all(fd, payload)
            self._dress(wanted, fd)
        except BaseException:
            os.close(fd)
            self.staging.remove(name)
            raise
        os.close(fd)
        return _staged(wanted, name, -1)

    def write(self, wanted: Wanted, blocks: Iterator[bytes]) -> Result:
        """A file whose content comes bit by bit; what `blocks` raises goes through."""
        name = self.staging.fresh_name()
        fd = os.open(name, _TEMPORARY, 0o600, dir_fd=self.staging.fd)
        try:
            for block in blocks:
                write_all(fd, block)
            self._dress(wanted, fd)
        except BaseException:
            self.staging.remove(name)
            raise
        finally:
            os.close(fd)
        return self._rename_all([_staged(wanted, name, -1)])[0]

    def remove(self, path: str) -> None:
        """Takes a file away again that we put there. Idempotent."""
        parts = split(path)
        with Folders(self._fd) as folders:
            folder = folders.parent(parts, create=False)
            if folder is not None and entry_stat(parts[-1], folder) is not None:
                os.unlink(parts[-1], dir_fd=folder)

    def reading(self, path: str) -> int:
        """A descriptor of a file below; no link is followed. OSError, UnsafePath."""
        parts = split(path)
        with Folders(self._fd) as folders:
            folder = folders.parent(parts, create=False)
            if folder is None:
                raise FileNotFoundError(errno.ENOENT, "no such file", path)
            return os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)

    def _dress(self, wanted: Wanted, fd: int) -> None:
        """Gives a staged file its mode and time."""
        mode = 0o777 if wanted.executable else 0o666
        os.fchmod(fd, mode & ~self._umask)
        os.utime(fd, ns=(wanted.mtime_ns, wanted.mtime_ns))

    def _rename_all(self, steps: List[Union[Result, Staged]]) -> List[Result]:
        results: List[Result] = []
        try:
            with self._ownership, Folders(self._fd) as folders:
                for step in steps:
                    folders.trim()
                    if isinstance(step, Staged):
                        results.append(guarded(self._renamer(step, folders)))
                    else:
                        results.append(step)
        except Stale as exc:
            results = [(wire.STALE, "", str(exc))] * len(steps)
        for step, result in zip(steps, results):
            if isinstance(step, Staged) and result[0] != wire.OK:
                self.staging.remove(step.temporary)
        return results

    def _renamer(self, step: Staged, folders: Folders) -> Callable[[], Result]:
        def rename() -> Result:
            parts = split(step.entry.path)
            folder = folders.parent(parts, create=True)
            assert folder is not None
            now = entry_stat(parts[-1], folder)
            if now is not None and stat.S_ISDIR(now.st_mode):
                raise IsADirectoryError(errno.EISDIR, "a folder", step.entry.path)
            if now is not None:
                check_replaceable(now)
            if now is not None and step.entry.accept:
                return (wire.CONFLICT, "", "the VM has another file there now")
            self.staging.move(step._replace(folder=folder))
            return (wire.OK, "", "replaced" if now is not None else "")

        return rename

    # --- files in pieces ----------------------------------------------------------

    def have(self, path: str, source: str) -> List[List[object]]:
        """The [offset, length, hash] of every piece that is here."""
        pieces = self._arrival(path, source).pieces
        return [[at, *pieces[at]] for at in sorted(pieces)]

    def add(self, path: str, source: str, offset: int, piece: bytes) -> None:
        """Stores a piece. Stale, OSError; after a full disk all its room is free."""
        if not self._ownership.is_current():
            raise Stale("the root was taken over by a newer connection")
        arrival = self._arrival(path, source)
        try:
            arrival.write(offset, piece)
        except OSError:
            self._drop(path)
            raise

    def end(self, wanted: Wanted, source: str) -> Result:
        """All pieces have arrived: checks them, brings them to disk, renames."""
        arrival = self._arrival(wanted.path, source)
        pieces = arrival.pieces
        if not is_whole(pieces, wanted.size) or digest(pieces) != wanted.hash:
            return (wire.BAD_HASH, "", "")
        fd = arrival.take(wanted.size)
        try:
            self._dress(wanted, fd)
            os.fsync(fd)
            step = _staged(wanted, arrival.name, fd)
            with self._ownership, Folders(self._fd) as folders:
                result = guarded(self._renamer(step, folders))
        except Stale as exc:
            return (wire.STALE, "", str(exc))
        finally:
            os.close(fd)
        if result[0] == wire.OK:
            self._drop(wanted.path)
        return result

    # --- archives -----------------------------------------------------------------

    def opened(self, wanted: Wanted, source: str) -> int:
        """A descriptor of an archive: of its pieces, which must be all here, or, for
        an empty `source`, of the file at its name."""
        if not source:
            return self.reading(wanted.path)
        arrival = self._arrival(wanted.path, source)
        pieces = arrival.pieces
        if not is_whole(pieces, wanted.size) or digest(pieces) != wanted.hash:
            raise FileNotFoundError(errno.ENOENT, "the archive is not whole")
        return arrival.take(wanted.size)

    def goes_on(self, wanted: Wanted) -> bool:
        """Whether this very archive was being unpacked before; from now on it is."""
        about = ("%s %d %d" % (wanted.hash, wanted.size, wanted.mtime_ns)).encode()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        fd = os.open(_note_name(wanted.path), flags, 0o600, dir_fd=self.staging.fd)
        try:
            if os.read(fd, 1024) == about:
                return True
            os.ftruncate(fd, 0)
            os.pwrite(fd, about, 0)
            return False
        finally:
            os.close(fd)

    def unpacked(self, wanted: Wanted) -> None:
        """To the end."""
        self.staging.remove(_note_name(wanted.path))

    def drop(self, path: str) -> None:
        """Forgets what has arrived of a file. Idempotent."""
        self._drop(path)
        self.unpacked(Wanted(path, wire.FILE, "", 0, None, 0))

    def _arrival(self, path: str, source: str) -> Arrival:
        name = part_name("/".join(split(path)))
        folder = self.staging.fd
        with self._lock:
            found = self._arrivals.get(path)
            about = "%s %s" % (source, probe.boot_id())
            if found is not None and found.source != about:
                found.close()
                found = None
            if found is None:
                found = self._arrivals[path] = Arrival(folder, name, about)
            return found

    def _drop(self, path: str) -> None:
        with self._lock:
            arrival = self._arrivals.pop(path, None)
        if arrival is not None:
            arrival.remove()
            arrival.close()


class Wish(NamedTuple):
    """What a target should be, as far as a look can tell. A plain list on the wire."""

    path: str
    kind: str  # FILE, LINK or FOLDER
    size: int
    mtime_ns: int
    executable: Optional[bool]
    leads_to: str  # of a link

    def is_met_by(self, now: os.stat_result, name: str, folder: int) -> bool:
        if self.kind == FOLDER:
            return stat.S_ISDIR(now.st_mode)
        if self.kind == wire.LINK:
            is_link = stat.S_ISLNK(now.st_mode)
            return is_link and os.readlink(name, dir_fd=folder) == self.leads_to
        return (
            stat.S_ISREG(now.st_mode)
            and now.st_size == self.size
            and now.st_mtime_ns == self.mtime_ns
            and self.executable in (None, bool(now.st_mode & 0o100))
        )


def _note_name(path: str) -> str:
    return part_name(path) + ".unpacking"


def _staged(wanted: Wanted, name: str, fd: int) -> Staged:
    """Its folder is looked up at the rename."""
    accept = [""] if wanted.fresh else []  # empty: whatever stands there
    facts = (wanted.hash, wanted.size, wanted.executable)
    entry = wire.Entry(wanted.path, wanted.kind, *facts, accept, 0)
    target = wanted.path.rpartition("/")[2]
    return Staged(entry, -1, target, None, name, fd, wanted.mtime_ns)
