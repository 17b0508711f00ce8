"""Looking at the project folder on the VM. Changes nothing but the manifest."""

from __future__ import annotations

import errno
import os
import stat
import sys
from typing import Dict, List, Optional, Tuple

assert sys.platform != "win32"  # runs on the VM only

from . import hashing, wire
from .manifest import Change, Manifest, hash_at, seen
from .paths import (
    PUSH_DIR,
    STATE_DIR,
    Folders,
    NotAFolder,
    UnsafePath,
    entry_stat,
    split,
)

_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


class View:
    """Any thread may call."""

    def __init__(self, root: str, root_fd: int, manifest: Manifest) -> None:
        self._root = root
        self._root_fd = root_fd
        self._manifest = manifest

    def current(
        self, path: str, name: str, folder: int
    ) -> Tuple[Optional[os.stat_result], str]:
        """The stat and hash of what stands there; (None, "") if nothing does.

        An empty folder counts as nothing, any other as "folder".
        """
        now = entry_stat(name, folder)
        if now is None:
            return None, ""
        if stat.S_ISDIR(now.st_mode):
            return now, "" if _holds_no_files(name, folder) else "folder"
        known = self._manifest.get(path)
        if known is not None and known.vouches_for(now):
            return now, known.hash
        return now, hash_at(name, folder, now)

    def check(self) -> int:
        """Looks at every manifest entry; the digest of what is really there."""
        digest = 0
        changes: List[Change] = []
        with Folders(self._root_fd) as folders:
            for path in self._manifest.paths():
                held = self._vouched(path)
                if held is None:
                    held = self._look(path, folders, changes)
                digest = hashing.add(digest, hashing.token(path, held))
        self._manifest.observe(changes)
        return digest

    def _vouched(self, path: str) -> Optional[str]:
        """The hash the manifest is sure of, at the price of one stat."""
        known = self._manifest.get(path)
        try:
            now = os.stat(path, dir_fd=self._root_fd, follow_symlinks=False)
        except OSError:
            return None
        return known.hash if known is not None and known.vouches_for(now) else None

    def look(self, paths: List[str]) -> List[str]:
        """The hashes of `paths` ("" if absent); what is there joins the manifest."""
        changes: List[Change] = []
        with Folders(self._root_fd) as folders:
            found = [self._look(path, folders, changes) for path in paths]
        self._manifest.observe(changes)
        return found

    def _look(self, path: str, folders: Folders, changes: List[Change]) -> str:
        known = self._manifest.get(path)
        now, held = self._held(path, folders)
        if now is None or stat.S_ISDIR(now.st_mode):
            if known is not None:
                changes.append(Change(path, known, None))
        elif known is None or not known.vouches_for(now):
            changes.append(Change(path, known, seen(held, now)))
        return held

    def _held(
        self, path: str, folders: Folders
    ) -> Tuple[Optional[os.stat_result], str]:
        try:
            parts = split(path)
            folders.trim()
            folder = folders.parent(parts, create=False)
            return (
                (None, "") if folder is None else self.current(path, parts[-1], folder)
            )
        except NotAFolder:
            return None, ""
        except UnsafePath:
            return None, "unsafe"
        except OSError:
            return None, "unreadable"

    def listing(self) -> List[str]:
        """Every file and link below the root, ours or not."""
        found: List[str] = []
        for folder, names, files in os.walk(self._root):
            inside = os.path.relpath(folder, self._root)
            prefix = "" if inside == "." else inside + "/"
            if not prefix:
                names[:] = [name for name in names if name != STATE_DIR]
            names[:] = [name for name in names if not name.startswith(PUSH_DIR)]
            links = [n for n in names if os.path.islink(os.path.join(folder, n))]
            found += [prefix + name for name in files + links]
        return found

    def read(
        self, path: str, offset: int, size: int
    ) -> Tuple[Dict[str, object], bytes]:
        """A piece of a file (or a link's target). FileNotFoundError, UnsafePath."""
        parts = split(path)
        with Folders(self._root_fd) as folders:
            folder = folders.parent(parts, create=False)
            now = None if folder is None else entry_stat(parts[-1], folder)
            if folder is None or now is None:
                raise FileNotFoundError(errno.ENOENT, "no such file", path)
            if stat.S_ISLNK(now.st_mode):
                target = os.readlink(parts[-1], dir_fd=folder)
                return {"kind": wire.LINK}, target.encode("utf-8", "surrogateescape")
            if not stat.S_ISREG(now.st_mode):
                raise UnsafePath("%s is not a regular file on the VM" % path)
            fd = os.open(parts[-1], _READ_FLAGS, dir_fd=folder)
        with os.fdopen(fd, "rb") as stream:
            about = os.fstat(fd)
            stream.seek(offset)
            executable = bool(about.st_mode & 0o100)
            facts = {"kind": wire.FILE, "size": about.st_size, "exec": executable}
            return facts, stream.read(size)


def _holds_no_files(name: str, folder: int) -> bool:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY, dir_fd=folder)
    try:
        for entry in os.listdir(fd):
            kind = os.stat(entry, dir_fd=fd, follow_symlinks=False).st_mode
            if not stat.S_ISDIR(kind) or not _holds_no_files(entry, fd):
                return False
    finally:
        os.close(fd)
    return True
