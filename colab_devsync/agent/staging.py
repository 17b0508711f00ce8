"""Our folder for files that are on their way to their names.

Contents are written, checked, given their mode and synced here; a rename brings them
to their name. Whatever a killed agent left here is removed by the next one.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import stat
import sys
import time
from typing import Callable, NamedTuple, Optional, Union

assert sys.platform != "win32"  # runs on the VM only

from . import delta, hashing, wire
from .paths import Folders, UnsafePath, split
from .wire import Entry

PART = "part-"  # begins the names that outlive an agent, for a while
_BESIDE = "beside-"
_KEEP_PARTS_S = 7 * 86400
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_PIECE = 1 << 20


class Part(NamedTuple):
    """A payload that was assembled here from pieces, under this name."""

    name: str


Payload = Union[bytes, "memoryview", Part]


class Staged(NamedTuple):
    """A content ready for its rename."""

    entry: Entry
    folder: int
    name: str
    before: Optional[os.stat_result]
    temporary: str
    fd: int  # -1 for a link
    mtime_ns: int  # 0 for a link


class Staging:
    """Any thread may call."""

    def __init__(self, path: str) -> None:
        os.makedirs(path, mode=0o700, exist_ok=True)
        self.fd = os.open(path, os.O_RDONLY)
        self._serial = itertools.count(1)

    def clean(self, root_fd: int) -> None:
        """Removes what the last agent left, but parts that may still be resumed."""
        oldest = time.time() - _KEEP_PARTS_S
        for name in os.listdir(self.fd):
            if name.startswith(_BESIDE):
                self._clean_beside(name, root_fd)
            made = os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_mtime
            if not name.startswith(PART) or made < oldest:
                os.unlink(name, dir_fd=self.fd)

    # --- contents -----------------------------------------------------------------

    def link(self, target: str) -> str:
        """Makes a symbolic link; its temporary name."""
        name = self.fresh_name()
        os.symlink(target, name, dir_fd=self.fd)
        return name

    def file(self, payload: Payload, known_hash: str = "") -> "Content":
        """A file with these bytes; `known_hash` is theirs, if it need not be computed
        again."""
        if isinstance(payload, Part):
            fd = os.open(payload.name, os.O_RDWR | os.O_NOFOLLOW, dir_fd=self.fd)
            return Content(payload.name, fd)

        def fill(fd: int) -> str:
            write_all(fd, payload)
            return known_hash or hashing.of_bytes(payload)

        return self._written(fill)

    def patched(self, payload: Payload, base_fd: int, size: int) -> "Content":
        """A file that a delta makes of a base. DeltaError."""
        with os.fdopen(base_fd, "rb") as base:
            if isinstance(payload, Part):
                instructions = self._take(payload)
            else:
                instructions = bytes(payload)

            def fill(fd: int) -> str:
                making = _Making(fd, size)
                delta.apply(instructions, base, making.write)
                return making.hash()

            return self._written(fill)

    def _take(self, part: Part) -> bytes:
        fd = os.open(part.name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self.fd)
        with os.fdopen(fd, "rb") as stream:
            payload = stream.read()
        self.remove(part.name)
        return payload

    def _written(self, fill: Callable[[int], str]) -> "Content":
        """A new file. `fill` writes to it; the hash of what it wrote, in memory, not
        read back from the disk."""
        name = self.fresh_name()
        fd = os.open(name, _FLAGS, 0o600, dir_fd=self.fd)
        try:
            return Content(name, fd, fill(fd))
        except BaseException:
            self.discard(Content(name, fd))
            raise

    def fresh_name(self) -> str:
        return "tmp-%d-%d" % (os.getpid(), next(self._serial))

    def remove(self, name: str) -> None:
        """Idempotent."""
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            pass

    def discard(self, step: "Union[Content, Staged]", renamed: bool = False) -> None:
        """Closes a file and removes it, unless it has been renamed to its name."""
        if step.fd >= 0:
            os.close(step.fd)
        if not renamed:
            self.remove(step.temporary)

    # --- to its name --------------------------------------------------------------

    def move(self, step: Staged) -> None:
        """Renames to the target; replaces a file there."""
        here, there = self.fd, step.folder
        try:
            os.rename(step.temporary, step.name, src_dir_fd=here, dst_dir_fd=there)
        except OSError as exc:
            if exc.errno != errno.EXDEV:
                raise
            self._move_across(step)

    def _move_across(self, step: Staged) -> None:
        """The folder is on another file system (a mounted drive): stage beside it."""
        beside = ".%s.colab-devsync" % step.temporary
        note = _BESIDE + step.temporary
        folder = step.entry.path.rpartition("/")[0]
        fd = os.open(note, _FLAGS, 0o600, dir_fd=self.fd)
        write_all(fd, os.fsencode(folder + "/" + beside if folder else beside))
        os.close(fd)
        try:
            if step.entry.kind == wire.LINK:
                target = os.readlink(step.temporary, dir_fd=self.fd)
                os.symlink(target, beside, dir_fd=step.folder)
            else:
                self._copy(step.temporary, beside, step.folder)
            os.rename(beside, step.name, src_dir_fd=step.folder, dst_dir_fd=step.folder)
            self.remove(step.temporary)
        except BaseException:
            _unlink(beside, step.folder)
            raise
        finally:
            self.remove(note)

    def _copy(self, temporary: str, beside: str, folder: int) -> None:
        fd = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self.fd)
        try:
            _copy_file(fd, beside, folder)
        finally:
            os.close(fd)

    def _clean_beside(self, note: str, root_fd: int) -> None:
        fd = os.open(note, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self.fd)
        with os.fdopen(fd, "rb") as stream:
            path = os.fsdecode(stream.read())
        try:
            with Folders(root_fd) as folders:
                folder = folders.parent(split(path), create=False)
                if folder is not None:
                    _unlink(split(path)[-1], folder)
        except UnsafePath:
            pass  # a note cut short, or somebody moved the folder: not ours any more


class Content(NamedTuple):
    """A staged file, open."""

    temporary: str
    fd: int
    known_hash: str = ""

    def hash(self) -> str:
        """Of what is in the file; read, unless it was hashed on its way there."""
        if self.known_hash:
            return self.known_hash
        os.lseek(self.fd, 0, os.SEEK_SET)
        with os.fdopen(os.dup(self.fd), "rb", buffering=0) as stream:
            return hashing.of_stream(stream)

    def settle(self, mode: int) -> os.stat_result:
        """Sets mode and time stamps; the stat it has then."""
        os.fchmod(self.fd, mode)
        # A time stamp finer than the kernel's own: whatever writes to the file
        # later, even within the same tick, changes it.
        stamp = time.time_ns()
        os.utime(self.fd, ns=(stamp, stamp))
        return os.fstat(self.fd)


def write_all(fd: int, data: "Union[bytes, memoryview]") -> None:
    """os.write may write less than it was given."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class _Making:
    """What a delta makes: hashed on its way to the disk. Refuses more than `size`
    bytes: a wrong delta must not fill the disk."""

    def __init__(self, fd: int, size: int) -> None:
        from .write_behind import WriteBehind  # ctypes, which few connections need

        self._fd = fd
        self._size = size
        self._at = 0
        self._digest = hashlib.sha256()
        self._disk = WriteBehind(fd)

    def write(self, data: bytes) -> None:
        if self._at + len(data) > self._size:
            raise delta.DeltaError("the delta makes more than %d bytes" % self._size)
        write_all(self._fd, data)
        self._disk.wrote(self._at, len(data))
        self._digest.update(data)
        self._at += len(data)

    def hash(self) -> str:
        return self._digest.hexdigest()[: hashing.DIGITS]


def _unlink(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass


def _copy_file(source: int, name: str, folder: int) -> None:
    about = os.fstat(source)
    fd = os.open(name, _FLAGS, stat.S_IMODE(about.st_mode), dir_fd=folder)
    try:
        os.fchmod(fd, stat.S_IMODE(about.st_mode))
        for offset in range(0, about.st_size, _PIECE):
            write_all(fd, os.pread(source, _PIECE, offset))
        os.utime(fd, ns=(about.st_atime_ns, about.st_mtime_ns))
        os.fsync(fd)
    finally:
        os.close(fd)
