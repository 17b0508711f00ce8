"""Safe paths under the project's root.

Every path is walked component by component with O_NOFOLLOW, so that no symbolic
link, however it got there and whenever, leads a write out of the root.
"""

from __future__ import annotations

import os
import stat
from typing import Dict, List, Optional

STATE_DIR = ".colab-devsync"  # ours, inside the root; never part of a mirror
PUSH_DIR = STATE_DIR + "-push-"  # begins the name of ours in a folder pushed to
_MANY = 64
_SPECIAL = frozenset(("", ".", ".."))
_DIR_FLAGS = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)


class UnsafePath(Exception):
    """The path may not be used; the message says why."""


class NotAFolder(UnsafePath):
    """A file or a link stands where the path needs a folder: nothing of ours is
    below it."""


def split(path: str) -> List[str]:
    """The components of a relative path. UnsafePath if it is not a plain one."""
    if (
        not path
        or path.startswith("/")
        or "\0" in path
        or ("\\" in path and os.sep == "\\")
    ):
        raise UnsafePath("not a relative path: %r" % path)
    parts = path.split("/")
    if not _SPECIAL.isdisjoint(parts):
        raise UnsafePath("not a plain path: %r" % path)
    if parts[0] == STATE_DIR:
        raise UnsafePath("%s is reserved" % STATE_DIR)
    try:
        os.fsencode(path)
    except UnicodeEncodeError as exc:
        raise UnsafePath("not a name for a file: %r" % path) from exc
    return parts


def link_stays_inside(path: str, target: str) -> bool:
    """Whether a symbolic link at `path` with this target stays in the root."""
    if not target or target.startswith("/") or "\0" in target:
        return False
    depth = path.count("/")
    for part in target.split("/"):
        if part == "..":
            depth -= 1
            if depth < 0:
                return False
        elif part not in ("", "."):
            depth += 1
    return True


def entry_stat(name: str, folder: int) -> Optional[os.stat_result]:
    """What stands at `name` in an open folder; a link itself; None if nothing."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


class Folders:
    """Open folders below a root; kept for one batch, then closed."""

    def __init__(self, root_fd: int) -> None:
        self._root = root_fd
        self._open: Dict[str, int] = {}

    def __enter__(self) -> "Folders":
        return self

    def __exit__(self, *exc: object) -> None:
        self._close()

    def _close(self) -> None:
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def trim(self) -> None:
        """Closes folders if many are open. Descriptors given out become invalid."""
        if len(self._open) > _MANY:
            self._close()

    def parent(self, parts: List[str], create: bool) -> Optional[int]:
        """The descriptor of the folder that holds `parts`; None if there is none.

        NotAFolder if a component is a symbolic link or a file.
        """
        return self._folder(parts[:-1], create)

    def _folder(self, parts: List[str], create: bool) -> Optional[int]:
        if not parts:
            return self._root
        key = "/".join(parts)
        if key in self._open:
            return self._open[key]
        above = self._folder(parts[:-1], create)
        if above is None:
            return None
        fd = _open_folder(parts[-1], above, create, key)
        if fd is not None:
            self._open[key] = fd
        return fd


def _open_folder(name: str, above: int, create: bool, shown: str) -> Optional[int]:
    try:
        return os.open(name, _DIR_FLAGS, dir_fd=above)
    except FileNotFoundError:
        if not create:
            return None
    except OSError:
        kind = os.stat(name, dir_fd=above, follow_symlinks=False).st_mode
        if stat.S_ISLNK(kind):
            raise NotAFolder("%s is a symbolic link on the VM" % shown) from None
        if not stat.S_ISDIR(kind):
            raise NotAFolder("%s is a file on the VM, not a folder" % shown) from None
        raise
    try:
        os.mkdir(name, 0o777, dir_fd=above)
    except FileExistsError:
        pass  # another stream of ours was faster
    return os.open(name, _DIR_FLAGS, dir_fd=above)
