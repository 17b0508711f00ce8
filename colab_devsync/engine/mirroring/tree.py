"""The local project folder: stat, read, walk. Changes nothing, keeps no state.

Paths are "/"-separated and relative to the root, on every system.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ...agent.paths import link_stays_inside
from ...core.events import Problem
from ...core.ignore import IgnoreRules
from ...core.plan import LocalStat

_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
MAX_NAME = 255  # bytes in one component, on the VM's file systems


HIDDEN = LocalStat("f", 0, -1, -1, None)
"""Something may stand there, in a folder that cannot be searched: no proof that it is
gone. Who reads it learns why."""


class Unstable(Exception):
    """The file changed while it was read."""


class Content(NamedTuple):
    """A file's bytes, as they were between two equal stats."""

    data: bytes
    stat: LocalStat
    looked_ns: int


def absolute(root: Path, path: str) -> str:
    if os.sep != "/":
        path = path.replace("/", os.sep)
    return f"{root}{os.sep}{path}"


def local_stat(about: os.stat_result) -> LocalStat | None:
    """None for what cannot be mirrored: folders, sockets, devices."""
    if stat.S_ISLNK(about.st_mode):
        return LocalStat("l", about.st_size, about.st_mtime_ns, about.st_ino, None)
    if not stat.S_ISREG(about.st_mode):
        return None
    executable = None if sys.platform == "win32" else bool(about.st_mode & 0o100)
    return LocalStat("f", about.st_size, about.st_mtime_ns, about.st_ino, executable)


def look(root: Path, path: str) -> LocalStat | None:
    """The stat of one path; None if nothing that can be mirrored stands there, HIDDEN
    if that cannot be told."""
    try:
        return local_stat(os.lstat(absolute(root, path)))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return HIDDEN


def read(root: Path, path: str) -> Content:
    """A file's bytes, or a link's target. Unstable, OSError."""
    name = absolute(root, path)
    looked_ns = time.time_ns()
    try:
        fd = os.open(name, _READ)
    except OSError as exc:
        return _read_link(name, looked_ns, exc)
    try:
        about = os.fstat(fd)
        before = local_stat(about)
        if before is None:
            raise FileNotFoundError(name)
        data = _read_all(fd, about.st_size)
        if not _is_unchanged(about, os.fstat(fd)) or len(data) != before.size:
            raise Unstable(path)
    finally:
        os.close(fd)
    return Content(data, before, looked_ns)


def _is_unchanged(before: os.stat_result, now: os.stat_result) -> bool:
    return (
        before.st_mtime_ns == now.st_mtime_ns
        and before.st_size == now.st_size
        and before.st_mode == now.st_mode
    )


def _read_all(fd: int, size: int) -> bytes:
    """One call for a file of the size we know; a byte more shows that it grew."""
    data = os.read(fd, size + 1)
    while 0 < len(data) < size:
        more = os.read(fd, size + 1 - len(data))
        if not more:
            break
        data += more
    return data


def _read_link(name: str, looked_ns: int, failure: OSError) -> Content:
    """What could not be opened may be a link; else the failure stands."""
    about = local_stat(os.lstat(name))
    if about is None or about.kind != "l":
        raise failure
    target = os.readlink(name).replace(os.sep, "/")
    return Content(target.encode("utf-8", "surrogateescape"), about, looked_ns)


def objection(path: str, about: LocalStat, root: Path, max_size: int) -> Problem | None:
    """Why this file cannot go to the VM as it is; None if it can."""
    if not _is_utf8(path):
        shown = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return Problem(
            shown,
            f"{shown}: the name is not UTF-8; the file is not mirrored.",
            "Rename the file.",
        )
    if len(path) > MAX_NAME // 4 and _longest_name(path) > MAX_NAME:
        return Problem(
            path,
            f"{path[:60]}…: the name is longer than {MAX_NAME} bytes.",
            "Rename the file; no common file system on the VM can hold it.",
        )
    if about.kind == "f" and about.size > max_size:
        return Problem(
            path,
            f"{path}: {about.size:,} bytes is more than `max_file_size`.",
            "Raise `max_file_size` in [sync], or exclude the file.",
        )
    if about.kind == "l" and not link_stays_inside(path, _target(root, path)):
        return Problem(
            path,
            f"{path}: the symbolic link leads out of the project.",
            "Copy the file into the project, or exclude the link.",
        )
    return None


def _longest_name(path: str) -> int:
    return max(len(part.encode()) for part in path.split("/"))


def _is_utf8(path: str) -> bool:
    if path.isascii():
        return True
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _target(root: Path, path: str) -> str:
    try:
        return os.readlink(absolute(root, path)).replace(os.sep, "/")
    except OSError:
        return "/"  # gone or replaced: the next look decides


@dataclass
class Walk:
    """One walk of a folder; `rules` and `errors` fill meanwhile."""

    root: Path
    rules: IgnoreRules
    errors: list[Problem] = field(default_factory=list)

    def files(self, folder: str = "") -> Iterator[tuple[str, LocalStat]]:
        """Every mirrored file and link at or below `folder`. Never raises OSError."""
        pending = [folder]
        while pending:
            here = pending.pop()
            prefix = here + "/" if here else ""
            entries = self._scan(here)
            if any(entry.name == ".gitignore" for entry in entries):
                self._read_gitignore(here)
            for entry in entries:
                is_dir = entry.is_dir(follow_symlinks=False)
                if self.rules.ignores_entry(here, entry.name, is_dir):
                    continue
                if is_dir:
                    pending.append(prefix + entry.name)
                elif (about := self._stat(entry)) is not None:
                    yield prefix + entry.name, about

    def _scan(self, folder: str) -> list[os.DirEntry[str]]:
        where = absolute(self.root, folder) if folder else os.fspath(self.root)
        try:
            with os.scandir(where) as entries:
                return list(entries)
        except (FileNotFoundError, NotADirectoryError) as exc:
            if not folder:
                self._fail(folder, exc)
            return []
        except OSError as exc:
            self._fail(folder, exc)
            return []

    def _fail(self, folder: str, exc: OSError) -> None:
        shown = folder or "the project folder"
        message = (
            f"{shown}: cannot be read ({exc.strerror}); nothing below it is mirrored."
        )
        self.errors.append(
            Problem(folder, message, "Make it readable, or exclude it.", "error")
        )

    def _stat(self, entry: os.DirEntry[str]) -> LocalStat | None:
        try:
            if sys.platform == "win32":
                about = os.lstat(entry.path)  # DirEntry.stat has no inode there
            else:
                about = entry.stat(follow_symlinks=False)
            return local_stat(about)
        except FileNotFoundError:
            return None

    def _read_gitignore(self, folder: str) -> None:
        name = absolute(self.root, folder + "/.gitignore" if folder else ".gitignore")
        self.rules.set_gitignore(folder, read_gitignore(name))


def read_gitignore(name: str) -> str | None:
    """The text of a .gitignore; None if there is none that can be read."""
    try:
        with open(name, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except OSError:  # also a link that leads to itself
        return None
