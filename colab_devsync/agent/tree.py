"""The project folder on the VM: put, delete, look, read.

A put is checked, staged, synced and renamed; the target holds its old bytes or the
new ones, never anything between. Nothing is touched whose content the client did not
announce in `accept`.
"""

from __future__ import annotations

import errno
import io
import itertools
import os
import stat
import time
from typing import BinaryIO, Dict, List, NamedTuple, Optional, Tuple

from . import delta, hashing, wire
from .manifest import Manifest, Seen, hash_at, seen
from .ownership import Ownership, Stale
from .paths import STATE_DIR, Folders, UnsafePath, link_stays_inside, split
from .wire import Entry, Result

_STAGE_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_VOUCHED = 1 << 62  # looked_ns of what we wrote: its mtime is ours to recognise

_WORDS = {
    errno.ENOSPC: "the VM's disk is full",
    errno.EDQUOT: "the disk quota on the VM is used up",
    errno.EROFS: "the file system on the VM is read-only",
    errno.EACCES: "permission denied on the VM",
    errno.EPERM: "not permitted on the VM",
    errno.ENAMETOOLONG: "the name is too long for the VM's file system",
    errno.EISDIR: "a folder stands there on the VM",
    errno.ENOTEMPTY: "a folder with files of its own stands there on the VM",
    errno.ENOTDIR: "a file stands on the VM where a folder is needed",
}


def refusal(exc: OSError) -> str:
    """An error of the file system in words."""
    return _WORDS.get(exc.errno or 0, os.strerror(exc.errno) if exc.errno else str(exc))


class _Staged(NamedTuple):
    entry: Entry
    folder: int
    name: str
    before: Optional[os.stat_result]
    temporary: str
    fd: int  # -1 for a link


class Tree:
    """Any thread may call; one path must not be put from two threads at once."""

    def __init__(self, root: str) -> None:
        """Makes the root and our folder in it. OSError if that is not possible."""
        self.root = root
        self.state = os.path.join(root, STATE_DIR)
        staging = os.path.join(self.state, "staging")
        os.makedirs(staging, mode=0o700, exist_ok=True)
        _write_once(os.path.join(self.state, ".gitignore"), "*\n")
        self._root_fd = os.open(root, os.O_RDONLY)
        self.staging_fd = os.open(staging, os.O_RDONLY)
        self.ownership = Ownership(self.state)
        self.manifest = Manifest(os.path.join(self.state, "manifest.log"))
        self._umask = os.umask(0o022)
        os.umask(self._umask)
        self._serial = itertools.count(1)

    def start(self) -> None:
        """After the root is ours: what the last agent left is read and cleaned up."""
        self.manifest.load()
        week_ago = time.time() - 7 * 86400
        for name in os.listdir(self.staging_fd):
            made = os.stat(name, dir_fd=self.staging_fd).st_mtime
            if not name.startswith("part-") or made < week_ago:
                os.unlink(name, dir_fd=self.staging_fd)

    # --- put ----------------------------------------------------------------------

    def put(self, entries: List[Entry], data: bytes, durable: bool) -> List[Result]:
        """Writes a batch: all are staged, then all synced, then all renamed."""
        results = [(wire.REFUSED, "", "")] * len(entries)  # type: List[Result]
        staged = []  # type: List[Tuple[int, _Staged]]
        offset = 0
        with Folders(self._root_fd) as folders:
            for index, entry in enumerate(entries):
                payload = data[offset : offset + entry.length]
                offset += entry.length
                step = self._guarded(self._stage, entry, payload, folders)
                if isinstance(step, _Staged):
                    staged.append((index, step))
                else:
                    results[index] = step
            finished = self._finish([step for _, step in staged], durable)
            for (index, _), result in zip(staged, finished):
                results[index] = result
        return results

    def _guarded(self, step, *args):  # type: ignore[no-untyped-def]
        """Runs a step; what the file system or the path rules refuse is a result."""
        try:
            return step(*args)
        except UnsafePath as exc:
            return (wire.REFUSED, "", str(exc))
        except OSError as exc:
            return (wire.REFUSED, "", refusal(exc))

    def _stage(self, entry: Entry, payload: bytes, folders: Folders) -> "Result | _Staged":
        parts = split(entry.path)
        folder = folders.parent(parts, create=True)
        assert folder is not None  # made just now
        now, held = self.current(entry.path, parts[-1], folder)
        if held == entry.hash:
            self._adopt(entry, parts[-1], folder, held)
            return (wire.SAME, held, "")
        if held not in entry.accept:
            return (wire.CONFLICT, held, "")
        if now is not None and stat.S_ISDIR(now.st_mode):
            _remove_empty_folders(parts[-1], folder)
        if entry.kind == wire.LINK:
            return self._stage_link(entry, payload, folder, parts[-1], now)
        if entry.kind == wire.DELTA:
            return self._stage_delta(entry, payload, folder, parts[-1], now, held)
        if hashing.of_bytes(payload) != entry.hash:
            return (wire.BAD_HASH, held, "")
        temporary, fd = self._temporary()
        try:
            _write_all(fd, payload)
        except BaseException:
            self._discard(temporary, fd)
            raise
        return _Staged(entry, folder, parts[-1], now, temporary, fd)

    def _stage_link(self, entry: Entry, payload: bytes, folder: int, name: str, now: Optional[os.stat_result]) -> "Result | _Staged":
        target = payload.decode("utf-8", "surrogateescape")
        if not link_stays_inside(entry.path, target):
            return (wire.REFUSED, "", "the link leads out of the project")
        if hashing.of_link(target) != entry.hash:
            return (wire.BAD_HASH, "", "")
        temporary = self._temporary_name()
        os.symlink(target, temporary, dir_fd=self.staging_fd)
        return _Staged(entry, folder, name, now, temporary, -1)

    def _stage_delta(self, entry: Entry, payload: bytes, folder: int, name: str, now: Optional[os.stat_result], held: str) -> "Result | _Staged":
        if held != entry.base:
            return (wire.NEED_FULL, held, "")
        temporary, fd = self._temporary()
        base_fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
        try:
            with os.fdopen(base_fd, "rb") as base, io.FileIO(fd, "r+", closefd=False) as out:
                buffered = io.BufferedWriter(out, 1 << 20)
                delta.apply(payload, base, buffered.write)
                buffered.flush()
                buffered.detach()
                out.seek(0)
                good = hashing.of_stream(out) == entry.hash  # type: ignore[arg-type]
        except delta.DeltaError:
            good = False
        except BaseException:
            self._discard(temporary, fd)
            raise
        if not good:
            self._discard(temporary, fd)
            return (wire.NEED_FULL, held, "")
        return _Staged(entry, folder, name, now, temporary, fd)

    def put_assembled(self, entry: Entry, temporary: str) -> Result:
        """Puts a payload that was assembled in the staging folder from parts."""
        with Folders(self._root_fd) as folders:
            step = self._guarded(self._stage_assembled, entry, temporary, folders)
            if isinstance(step, _Staged):
                return self._finish([step], durable=True)[0]
        return step  # type: ignore[no-any-return]

    def _stage_assembled(self, entry: Entry, temporary: str, folders: Folders) -> "Result | _Staged":
        fd = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW, dir_fd=self.staging_fd)
        try:
            if entry.kind == wire.DELTA:
                with os.fdopen(os.dup(fd), "rb") as stream:
                    payload = stream.read()
                step = self._stage(entry, payload, folders)
            else:
                step = self._check_assembled(entry, fd, temporary, folders)
        except BaseException:
            os.close(fd)
            raise
        if not isinstance(step, _Staged) or step.fd != fd:
            self._discard(temporary, fd)
        return step

    def _check_assembled(self, entry: Entry, fd: int, temporary: str, folders: Folders) -> "Result | _Staged":
        parts = split(entry.path)
        folder = folders.parent(parts, create=True)
        assert folder is not None
        now, held = self.current(entry.path, parts[-1], folder)
        if held == entry.hash:
            self._adopt(entry, parts[-1], folder, held)
            return (wire.SAME, held, "")
        if held not in entry.accept:
            return (wire.CONFLICT, held, "")
        with os.fdopen(os.dup(fd), "rb", buffering=0) as stream:
            if hashing.of_stream(stream) != entry.hash:  # type: ignore[arg-type]
                return (wire.BAD_HASH, held, "")
        if now is not None and stat.S_ISDIR(now.st_mode):
            _remove_empty_folders(parts[-1], folder)
        return _Staged(entry, folder, parts[-1], now, temporary, fd)

    def _finish(self, staged: List[_Staged], durable: bool) -> List[Result]:
        results = []  # type: List[Result]
        for step in staged:
            results.append(self._guarded(self._settle, step, durable))
        changes = []  # type: List[Tuple[str, Optional[Seen]]]
        try:
            with self.ownership:
                for index, step in enumerate(staged):
                    if results[index][0] == wire.OK:
                        results[index] = self._guarded(self._rename, step, changes)
        except Stale as exc:
            results = [(wire.STALE, "", str(exc))] * len(staged)
        for step, result in zip(staged, results):
            self._discard("" if result[0] == wire.OK else step.temporary, step.fd)
        self.manifest.record(changes)
        return results

    def _settle(self, step: _Staged, durable: bool) -> Result:
        if step.fd >= 0:
            os.fchmod(step.fd, self._mode(step.entry.executable, step.before))
            # A time stamp finer than the kernel's own: whatever writes to the file
            # later, even within the same tick, changes it.
            stamp = time.time_ns()
            os.utime(step.fd, ns=(stamp, stamp))
            if durable:
                os.fsync(step.fd)
        return (wire.OK, step.entry.hash, "")

    def _rename(self, step: _Staged, changes: "List[Tuple[str, Optional[Seen]]]") -> Result:
        if not _same_file(step.before, _stat(step.name, step.folder)):
            _, held = self.current(step.entry.path, step.name, step.folder)
            if held not in step.entry.accept:
                return (wire.CONFLICT, held, "")
        try:
            self._move(step.temporary, step)
        except OSError as exc:
            if exc.errno != errno.EXDEV:
                raise
            self._move_across(step)
        now = os.stat(step.name, dir_fd=step.folder, follow_symlinks=False)
        entry = seen(step.entry.hash, now)._replace(looked_ns=_VOUCHED)
        changes.append((step.entry.path, entry))
        return (wire.OK, step.entry.hash, "")

    def _move(self, temporary: str, step: _Staged) -> None:
        os.rename(temporary, step.name, src_dir_fd=self.staging_fd, dst_dir_fd=step.folder)

    def _move_across(self, step: _Staged) -> None:
        """The folder is on another file system (a mounted drive): stage beside it."""
        beside = ".%s.colab-devsync" % step.temporary
        try:
            if step.fd < 0:
                target = os.readlink(step.temporary, dir_fd=self.staging_fd)
                os.symlink(target, beside, dir_fd=step.folder)
            else:
                _copy_file(step.fd, beside, step.folder)
            os.rename(beside, step.name, src_dir_fd=step.folder, dst_dir_fd=step.folder)
        except BaseException:
            if _stat(beside, step.folder) is not None:
                os.unlink(beside, dir_fd=step.folder)
            raise
        os.unlink(step.temporary, dir_fd=self.staging_fd)

    def _adopt(self, entry: Entry, name: str, folder: int, held: str) -> None:
        now = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if entry.executable is not None and stat.S_ISREG(now.st_mode):
            mode = self._mode(entry.executable, now)
            if mode != stat.S_IMODE(now.st_mode):
                os.chmod(name, mode, dir_fd=folder)
                now = os.stat(name, dir_fd=folder, follow_symlinks=False)
        old = self.manifest.get(entry.path)
        if old is None or old.hash != held or not old.vouches_for(now):
            self.manifest.record([(entry.path, seen(held, now))])

    def _mode(self, executable: Optional[bool], before: Optional[os.stat_result]) -> int:
        if executable is None:
            executable = before is not None and bool(before.st_mode & 0o100)
        return (0o777 if executable else 0o666) & ~self._umask

    # --- delete, look, read -------------------------------------------------------

    def delete(self, wanted: List[Tuple[str, List[str]]]) -> List[Result]:
        """Removes (path, accept) pairs, then the folders this left empty."""
        results = []
        changes = []  # type: List[Tuple[str, Optional[Seen]]]
        try:
            with self.ownership, Folders(self._root_fd) as folders:
                for path, accept in wanted:
                    results.append(self._guarded(self._delete, path, accept, folders, changes))
        except Stale as exc:
            results = [(wire.STALE, "", str(exc))] * len(wanted)
        self.manifest.record(changes)
        for folder in sorted({path.rpartition("/")[0] for path, _ in changes}, reverse=True):
            self._prune(folder)
        return results

    def _delete(self, path: str, accept: List[str], folders: Folders, changes: "List[Tuple[str, Optional[Seen]]]") -> Result:
        parts = split(path)
        folder = folders.parent(parts, create=False)
        held = ""
        if folder is not None:
            _, held = self.current(path, parts[-1], folder)
            if held and held not in accept:
                return (wire.CONFLICT, held, "")
            if held:
                os.unlink(parts[-1], dir_fd=folder)
        changes.append((path, None))
        return (wire.OK if held else wire.SAME, "", "")

    def _prune(self, folder: str) -> None:
        while folder:
            try:
                os.rmdir(folder, dir_fd=self._root_fd)
            except OSError:
                return  # not empty, or gone
            folder = folder.rpartition("/")[0]

    def current(self, path: str, name: str, folder: int) -> Tuple[Optional[os.stat_result], str]:
        """The stat and hash of what stands there; (None, "") if nothing does.

        An empty folder counts as nothing, any other as "folder".
        """
        now = _stat(name, folder)
        if now is None:
            return None, ""
        if stat.S_ISDIR(now.st_mode):
            return now, "" if _holds_no_files(name, folder) else "folder"
        known = self.manifest.get(path)
        if known is not None and known.vouches_for(now):
            return now, known.hash
        return now, hash_at(name, folder, now)

    def check(self) -> int:
        """Looks at every manifest entry; the digest of what is really there."""
        digest, changes = 0, []  # type: int, List[Tuple[str, Optional[Seen]]]
        with Folders(self._root_fd) as folders:
            for path in self.manifest.paths():
                known = self.manifest.get(path)
                now = _stat(path, self._root_fd)
                if known is None or now is None or not known.vouches_for(now):
                    held = self._look(path, folders, changes)
                else:
                    held = known.hash
                digest = hashing.add(digest, hashing.token(path, held))
        self.manifest.record(changes)
        return digest

    def look(self, paths: List[str]) -> List[str]:
        """The hashes of `paths` ("" if absent); what is there joins the manifest."""
        changes = []  # type: List[Tuple[str, Optional[Seen]]]
        with Folders(self._root_fd) as folders:
            found = [self._look(path, folders, changes) for path in paths]
        self.manifest.record(changes)
        return found

    def _look(self, path: str, folders: Folders, changes: "List[Tuple[str, Optional[Seen]]]") -> str:
        try:
            parts = split(path)
            folder = folders.parent(parts, create=False)
            now, held = (None, "") if folder is None else self.current(path, parts[-1], folder)
        except UnsafePath:
            now, held = None, "unsafe"
        except OSError:
            now, held = None, "unreadable"
        known = self.manifest.get(path)
        entry = None if now is None or stat.S_ISDIR(now.st_mode) else seen(held, now)
        if entry is None and known is not None:
            changes.append((path, None))
        elif entry is not None and (known is None or now is None or not known.vouches_for(now)):
            changes.append((path, entry))
        return held

    def forget(self, paths: List[str]) -> None:
        """Takes paths out of the manifest; the files stay."""
        self.manifest.record([(path, None) for path in paths])

    def listing(self) -> List[str]:
        """Every file and link below the root, ours or not."""
        found = []  # type: List[str]
        for folder, names, files in os.walk(self.root):
            inside = os.path.relpath(folder, self.root)
            prefix = "" if inside == "." else inside + "/"
            if not prefix:
                names[:] = [name for name in names if name != STATE_DIR]
            links = [name for name in names if os.path.islink(os.path.join(folder, name))]
            found += [prefix + name for name in files + links]
        return found

    def read(self, path: str, offset: int, size: int) -> Tuple[Dict[str, object], bytes]:
        """A piece of a file (or a link's target). FileNotFoundError, UnsafePath."""
        parts = split(path)
        with Folders(self._root_fd) as folders:
            folder = folders.parent(parts, create=False)
            now = None if folder is None else _stat(parts[-1], folder)
            if folder is None or now is None:
                raise FileNotFoundError(errno.ENOENT, "no such file", path)
            if stat.S_ISLNK(now.st_mode):
                target = os.readlink(parts[-1], dir_fd=folder)
                return {"kind": wire.LINK}, target.encode("utf-8", "surrogateescape")
            fd = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
        with os.fdopen(fd, "rb") as stream:
            stream.seek(offset)
            about = {"kind": wire.FILE, "size": now.st_size, "exec": bool(now.st_mode & 0o100)}
            return about, stream.read(size)

    # --- staging ------------------------------------------------------------------

    def _temporary_name(self) -> str:
        return "tmp-%d-%d" % (os.getpid(), next(self._serial))

    def _temporary(self) -> Tuple[str, int]:
        name = self._temporary_name()
        return name, os.open(name, _STAGE_FLAGS, 0o600, dir_fd=self.staging_fd)

    def _discard(self, temporary: str, fd: int) -> None:
        if fd >= 0:
            os.close(fd)
        if temporary:
            os.unlink(temporary, dir_fd=self.staging_fd)


def _stat(name: str, folder: int) -> Optional[os.stat_result]:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _same_file(before: Optional[os.stat_result], now: Optional[os.stat_result]) -> bool:
    if before is None or now is None:
        return before is now
    return (before.st_ino, before.st_size, before.st_mtime_ns, before.st_ctime_ns) == (
        now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns,
    )


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _copy_file(source: int, name: str, folder: int) -> None:
    about = os.fstat(source)
    fd = os.open(name, _STAGE_FLAGS, stat.S_IMODE(about.st_mode), dir_fd=folder)
    try:
        offset = 0
        while offset < about.st_size:
            piece = os.pread(source, 1 << 20, offset)
            _write_all(fd, piece)
            offset += len(piece)
        os.utime(fd, ns=(about.st_atime_ns, about.st_mtime_ns))
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_once(path: str, text: str) -> None:
    try:
        with open(path, "x", encoding="ascii") as stream:
            stream.write(text)
    except FileExistsError:
        pass


def _holds_no_files(name: str, folder: int) -> bool:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
    try:
        for entry in os.listdir(fd):
            kind = os.stat(entry, dir_fd=fd, follow_symlinks=False).st_mode
            if not stat.S_ISDIR(kind) or not _holds_no_files(entry, fd):
                return False
    finally:
        os.close(fd)
    return True


def _remove_empty_folders(name: str, folder: int) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
    try:
        for entry in os.listdir(fd):
            _remove_empty_folders(entry, fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=folder)
