"""What a local file or folder holds, as it goes to the VM. Reads no contents."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path

from ...agent import wire
from ...agent.paths import PUSH_DIR, STATE_DIR, link_stays_inside
from ...core.pushing import Skipped
from ...errors import PushError

FOLDER = "d"


@dataclass(frozen=True, slots=True)
class Source:
    """One file, link or empty folder, as a look at it tells."""

    path: str  # "/"-separated, relative to what is pushed; its name on the VM
    name: str  # of the local file
    kind: str  # wire.FILE, wire.LINK or FOLDER
    size: int = 0
    mtime_ns: int = 0
    inode: int = 0
    executable: bool | None = None
    target: str = ""  # of a link


@dataclass
class Listing:
    """All of it, in an order that neighbours share."""

    is_folder: bool
    sources: list[Source] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    unreadable: list[Skipped] = field(default_factory=list)

    @property
    def files(self) -> int:
        """Links count as files, folders do not."""
        return sum(source.kind != FOLDER for source in self.sources)

    @property
    def bytes(self) -> int:
        return sum(source.size for source in self.sources)


def list_local(local: Path) -> Listing:
    """PushError if there is nothing to push."""
    try:
        about = os.stat(local)
    except OSError as exc:
        raise _nothing(local, exc) from exc
    if stat.S_ISDIR(about.st_mode):
        listing = Listing(is_folder=True)
        _walk(os.fspath(local), listing)
        return listing
    if not stat.S_ISREG(about.st_mode):
        raise PushError(f"{local} is neither a file nor a folder.")
    try:
        with open(local, "rb"):
            pass
    except OSError as exc:
        raise _nothing(local, exc) from exc
    return Listing(False, [_file("", os.fspath(local), about)])


def name_of(local: Path) -> str:
    """Its name in the folder it is pushed to."""
    return local.name if local.name not in ("", "..") else local.resolve().name


def look(source: Source) -> Source:
    """The same file as it is now. OSError."""
    return _file(source.path, source.name, os.stat(source.name, follow_symlinks=True))


def _nothing(local: Path, exc: OSError) -> PushError:
    if isinstance(exc, FileNotFoundError):
        return PushError(
            f"There is no {local}.", "LOCAL is a file or a folder of this machine."
        )
    return PushError(
        f"{local} cannot be read: {exc.strerror}.", "Look at its permissions."
    )


def _file(path: str, name: str, about: os.stat_result) -> Source:
    executable = None if sys.platform == "win32" else bool(about.st_mode & 0o100)
    return Source(
        path,
        name,
        wire.FILE,
        about.st_size,
        about.st_mtime_ns,
        about.st_ino,
        executable,
    )


def _walk(root: str, listing: Listing) -> None:
    pending = [""]
    while pending:
        here = pending.pop()
        try:
            with os.scandir(os.path.join(root, *here.split("/"))) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as exc:
            if not here:
                raise _nothing(Path(root), exc) from exc
            listing.unreadable.append(Skipped(shown(here), exc.strerror or str(exc)))
            continue
        prefix = here + "/" if here else ""
        for entry in entries:
            if _is_ours(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.append(prefix + entry.name)
            else:
                _add(entry, prefix + entry.name, listing)
        if not entries and here:
            listing.sources.append(Source(here, os.path.join(root, here), FOLDER))


def _is_ours(name: str) -> bool:
    return name == STATE_DIR or name.startswith(PUSH_DIR)


def _add(entry: os.DirEntry[str], path: str, listing: Listing) -> None:
    try:
        about = os.stat(entry.path, follow_symlinks=False)
        if stat.S_ISREG(about.st_mode):
            listing.sources.append(_file(path, entry.path, about))
        elif stat.S_ISLNK(about.st_mode):
            _add_link(entry, path, listing)
        else:
            reason = "neither a file, a folder nor a link"
            listing.skipped.append(Skipped(shown(path), reason))
    except FileNotFoundError:
        return  # gone since the folder was read
    except OSError as exc:
        listing.unreadable.append(Skipped(shown(path), exc.strerror or str(exc)))


def _add_link(entry: os.DirEntry[str], path: str, listing: Listing) -> None:
    target = os.readlink(entry.path).replace(os.sep, "/")
    if link_stays_inside(path, target):
        listing.sources.append(Source(path, entry.path, wire.LINK, target=target))
    else:
        reason = f"the symbolic link leads out of the folder, to {shown(target)}"
        listing.skipped.append(Skipped(shown(path), reason))


def shown(path: str) -> str:
    """A name for people and for JSON, whatever its bytes are."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
