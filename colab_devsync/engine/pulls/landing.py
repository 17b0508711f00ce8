"""Puts what has arrived in its place, and never over anything that is not ours.

One rule's local folder. Any thread; the caller sees to it that one path is worked on by
one thread at a time.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...agent.paths import STATE_DIR
from ...core.config.schema import PullConfig
from ...core.events import Problem
from ...core.pulls import Version, copy_name, earlier_name, is_plain
from .contents import is_content
from .record import Pulled, stat_of

_log = logging.getLogger(__name__)

_COPIES = 20
_IS_WINDOWS = os.name == "nt"
_WEEK_S = 7 * 86400.0
_RESERVE = 16 << 20  # bytes of the disk that are left to others


class NotHere(Exception):
    """It cannot be put here; the message says why, for people."""


class NoRoom(NotHere):
    """The disk here is too small. `needs`: free bytes with which it would go on."""

    def __init__(self, message: str, needs: int) -> None:
        super().__init__(message)
        self.needs = needs


@dataclass(frozen=True)
class Landed:
    """Where a file was put, and what a person should know about that."""

    pulled: Pulled
    problem: Problem | None = None


class Landing:
    def __init__(self, root: Path, rule: PullConfig, remote: str, owner: str) -> None:
        """`remote`: the rule's folder on the VM, absolute; `owner`: see `Record`."""
        self._owner = owner
        self.vm = ""  # marker of the VM that files come from
        self._root = root
        self._rule = rule
        self._remote = remote
        self.folder = root / rule.local
        self._parts = self.folder / STATE_DIR

    # --- before it arrives --------------------------------------------------------

    def target(self, path: str) -> Path:
        """Where `path` belongs. NotHere if its name cannot be used."""
        if not is_plain(path, windows=_IS_WINDOWS):
            raise NotHere("its name cannot be used on this machine")
        return self.folder / path

    def part(self, path: str, version: str) -> Path:
        """Where it is gathered; the folder is made. OSError."""
        _make_folder(self._parts)
        return self._part(path, version)

    def _part(self, path: str, version: str) -> Path:
        return self._parts / part_name(self._owner, path, version)

    def check_room(self, size: int, promised: int = 0) -> None:
        """NoRoom if the disk has none for so many more bytes, besides those that were
        `promised` to files on their way. OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        free = max(0, self.room() - promised)
        if size + _RESERVE > free:
            others = f" besides {_mb(promised)} for others" if promised else ""
            raise NoRoom(
                f"the disk here has {_mb(free)} free{others}, and it needs {_mb(size)} "
                f"and {_mb(_RESERVE)} that stay free",
                size + promised + _RESERVE,
            )

    def room(self) -> int:
        """Free bytes of the disk; 0 if nobody can tell."""
        with contextlib.suppress(OSError):
            return shutil.disk_usage(self.folder).free
        return 0

    def sweep(self, used: set[Path]) -> None:
        """Deletes parts that nobody will go on with: unknown ones of ours, and those of
        a week ago, whose VM is gone. Another profile may have some here, too."""
        oldest = time.time() - _WEEK_S
        with contextlib.suppress(OSError):
            for part in self._parts.glob("*.part"):
                is_unknown = self._is_ours(part) and part not in used
                if is_unknown or part.stat().st_mtime < oldest:
                    part.unlink()

    def _is_ours(self, part: Path) -> bool:
        return part.name.startswith(f"{self._owner}-")

    def forget(self, path: str, version: str) -> None:
        """Deletes a part, if it is there and can be deleted."""
        with contextlib.suppress(OSError):
            self._part(path, version).unlink()

    def tidy(self) -> None:
        """Takes the folder of parts away if it is empty."""
        with contextlib.suppress(OSError):
            self._parts.rmdir()

    # --- when it has arrived ------------------------------------------------------

    def land(
        self,
        part: Path,
        path: str,
        version: Version,
        content: str,
        known: Pulled | None,
    ) -> Landed:
        """Moves the finished part to its place: on disk, with the VM's time, at once.
        `content`: its hash; `known`: what was pulled to `path` before. To be followed
        by `sync`. NotHere, OSError."""
        sync_file(part)
        os.utime(part, ns=(version.mtime_ns, version.mtime_ns))
        return self.name(part, path, version, content, known)

    def name(
        self,
        part: Path,
        path: str,
        version: Version,
        content: str,
        known: Pulled | None,
    ) -> Landed:
        """`land` for a part that is on disk and has its time."""
        for place in self._places(path):
            if self._put(part, place, content, known):
                return self._landed(path, version, content, place)
        raise NotHere("other files have its name, and all that stand for it")

    def sync(self, files: Iterable[Landed]) -> None:
        """The names of these files are on disk, too."""
        places = (one.pulled.local for one in files)
        for folder in {place.parent for place in places if place is not None}:
            _sync_folder(folder)

    def adopt(self, path: str, version: Version, content: str, place: Path) -> Landed:
        """What stands at `place` has this very content: ours from now on."""
        with contextlib.suppress(OSError):
            os.utime(place, ns=(version.mtime_ns, version.mtime_ns))
        return self._landed(path, version, content, place)

    def _places(self, path: str) -> Iterator[Path]:
        target = self.target(path)
        try:
            _make_folder(target.parent)
        except (FileExistsError, NotADirectoryError):
            raise NotHere(
                "a file stands here where the VM has a folder; rename or delete it"
            ) from None
        yield target
        copy = self.target(copy_name(path))
        yield copy
        for number in range(2, _COPIES):
            yield copy.with_name(f"{copy.stem}-{number}{copy.suffix}")

    def _put(self, part: Path, place: Path, content: str, known: Pulled | None) -> bool:
        """False if something stands there that is not ours."""
        if not os.path.lexists(place):
            return _move_if_free(part, place) or self._put(part, place, content, known)
        now = stat_of(place)
        if now is None:
            return False
        is_ours = known is not None and known.local == place and known.stat == now
        if not is_ours:
            hashes = (content, known.hash) if known is not None else (content,)
            is_ours = any(is_content(place, one) for one in hashes)
            is_ours = is_ours and stat_of(place) == now
        if is_ours:
            if known is not None and self._is_earlier(known, place, content):
                self._put_aside(place)
            os.replace(part, place)
        return is_ours

    def _is_earlier(self, known: Pulled, place: Path, content: str) -> bool:
        """Whether an earlier VM's other file stands there: of a night's training, and
        what has its name now may be of a new one's first minute."""
        if not known.vm or known.vm == self.vm or known.local != place:
            return False
        return not is_content(place, content)

    def _put_aside(self, place: Path) -> None:
        number = 1
        while not _move_if_free(place, Path(earlier_name(place.as_posix(), number))):
            number += 1
        _log.info("%s of an earlier VM has another name now", place)

    def _landed(self, path: str, version: Version, content: str, place: Path) -> Landed:
        pulled = Pulled(
            rule=self._rule.name,
            path=path,
            remote=f"{self._remote}/{path}",
            version=version,
            hash=content,
            local=place,
            stat=stat_of(place),
            vm=self.vm,
        )
        if place == self.target(path):
            return Landed(pulled)
        return Landed(pulled, self._conflict(path, place))

    def _conflict(self, path: str, place: Path) -> Problem:
        return Problem(
            self.shown(path),
            f"There is a file here that is not the one on the VM; the VM's is beside "
            f"it, as {place.name}.",
            "Rename or delete one of them.",
        )

    def shown(self, path: str) -> str:
        """Relative to the project, for messages."""
        return f"{self._rule.local}/{path}"

    # --- what is here -------------------------------------------------------------

    def drop(self, pulled: Pulled) -> bool:
        """Deletes it, if it is still exactly what we put here."""
        if pulled.local is None or not pulled.is_here:
            return False
        with contextlib.suppress(FileNotFoundError):
            pulled.local.unlink()
        return True


def part_name(owner: str, path: str, version: str) -> str:
    """What the file is called in which this version of it is gathered."""
    text = f"{path}\0{version}".encode("utf-8", "surrogateescape")
    return f"{owner}-{hashlib.sha256(text).hexdigest()[:24]}.part"


def sync_file(path: Path) -> None:
    """What is in it is on disk. OSError."""
    with open(path, "rb+", buffering=0) as stream:
        os.fsync(stream.fileno())


def why_not(exc: NotHere | OSError, left: int) -> tuple[str, int]:
    """Why it cannot be put here, for people, and how many free bytes would help; 0: it
    is not for want of room. `left`: bytes of it that were still to come."""
    if isinstance(exc, NotHere):
        return str(exc), exc.needs if isinstance(exc, NoRoom) else 0
    if exc.errno == errno.ENOSPC:
        return f"the disk here is full; it needs {_mb(left)} more", max(1, left)
    return in_words(exc), 0


def in_words(exc: OSError) -> str:
    """Why this machine refuses, for people."""
    if exc.errno == getattr(errno, "EDQUOT", None):
        return "the disk quota here is used up"
    if exc.errno in (errno.EACCES, errno.EPERM):
        return f"permission denied here ({exc.filename})"
    return f"{exc.strerror or exc} ({exc.filename})" if exc.filename else str(exc)


def _move_if_free(part: Path, place: Path) -> bool:
    """Without a moment in which somebody else's new file could be lost."""
    if _IS_WINDOWS:
        try:
            part.rename(place)
        except FileExistsError:
            return False
        return True
    try:
        os.link(part, place)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        if os.path.lexists(place):
            return False
        os.replace(part, place)
        return True
    part.unlink()
    return True


def _make_folder(folder: Path) -> None:
    """Nearly always it is there."""
    if not os.path.isdir(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _sync_folder(folder: Path) -> None:
    if _IS_WINDOWS:
        return
    with contextlib.suppress(OSError):  # some file systems cannot
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size < 10**7 else f"{size / 1e6:,.0f} MB"
