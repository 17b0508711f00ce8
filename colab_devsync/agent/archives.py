"""Reads zip and tar archives, members in order, with one view of both.

Trusts nothing in them: a name that leads out of the folder is an error, whoever made
the archive. Used here before an archive is sent, and on the VM when it is unpacked.
"""

from __future__ import annotations

import stat
import struct
import sys
import tarfile
import time
import zipfile
import zlib
from typing import IO, Any, BinaryIO, Iterator, NamedTuple, Optional, Tuple

FILE, LINK, HARD_LINK, FOLDER, OTHER = "f", "l", "h", "d", "?"
_MAX_TARGET = 1 << 16  # bytes of a link's target in a zip
_ENCRYPTED = 0x1
_GZIP = b"\x1f\x8b"
_UNIX, _DOS = 3, 0
_MAX_TIME_NS = 1 << 62  # the year 2116


class BadArchive(Exception):
    """It is damaged, of no known kind, or leads out of its folder. Says which."""


class Member(NamedTuple):
    path: str  # "/"-separated; no "..", not absolute
    kind: str
    size: int  # bytes, unpacked; 0 but for a FILE
    mtime_ns: int
    executable: bool
    target: str  # of a LINK, as it is; of a HARD_LINK, another member's path
    raw: Any  # what `Archive.open` needs


class Archive:
    """Opened on a seekable stream. BadArchive from every method."""

    def __init__(self, stream: BinaryIO) -> None:
        self._zip: Optional[zipfile.ZipFile] = None
        self._tar: Optional[tarfile.TarFile] = None
        head = stream.read(4)
        stream.seek(0)
        try:
            if head[:2] == b"PK":
                self._zip = zipfile.ZipFile(stream)
            else:
                self._tar = tarfile.open(fileobj=stream, mode="r:*")  # noqa: SIM115
        except Exception as exc:
            raise BadArchive(_unreadable(head, exc)) from exc

    def __iter__(self) -> Iterator[Member]:
        if self._zip is not None:
            for info in self._zip.infolist():
                yield _zip_member(self._zip, info)
        while self._tar is not None:
            try:
                # Not kept in a list, as iterating would: archives have many.
                found = self._tar.next()
                vars(self._tar)["members"] = []
            except Exception as exc:
                raise BadArchive("the archive is damaged (%s)" % exc) from exc
            if found is None:
                return
            yield _tar_member(found)

    def open(self, member: Member) -> IO[bytes]:
        """The content of a FILE; reading it may raise BadArchive through `read`."""
        try:
            if self._zip is not None:
                return self._zip.open(member.raw)
            assert self._tar is not None
            stream = self._tar.extractfile(member.raw)
        except Exception as exc:
            raise BadArchive(_damaged(member.path, exc)) from exc
        assert stream is not None
        return stream

    @property
    def size(self) -> Optional[int]:
        """Bytes of all files, if that is known without reading the archive."""
        if self._zip is None:
            return None
        return sum(info.file_size for info in self._zip.infolist())

    def close(self) -> None:
        for one in (self._zip, self._tar):
            if one is not None:
                one.close()


def read(stream: IO[bytes], size: int, path: str) -> bytes:
    """The next bytes of a member. BadArchive if they cannot be made out."""
    try:
        return stream.read(size)
    except Exception as exc:
        raise BadArchive(_damaged(path, exc)) from exc


def estimate(stream: BinaryIO) -> Tuple[int, str]:
    """(bytes it takes unpacked at least, what is wrong with it or ""). Quick: of a
    compressed tar only the beginning is read."""
    head = stream.read(2)
    try:
        stream.seek(0)
        archive = Archive(stream)
        if head in (b"PK",) or _is_plain_tar(stream):
            return sum(member.size for member in archive), ""
        next(iter(archive), None)
        if head != _GZIP:
            return 0, ""
        stream.seek(-4, 2)  # gzip tells its size, modulo 4 GiB, at the end
        return int(struct.unpack("<I", stream.read(4))[0]), ""
    except BadArchive as exc:
        return 0, str(exc)
    except OSError:
        return 0, "the archive is too short to be one"


def _is_plain_tar(stream: BinaryIO) -> bool:
    stream.seek(0)
    try:
        with tarfile.open(fileobj=stream, mode="r:") as plain:
            plain.next()
    except tarfile.TarError:
        return False
    finally:
        stream.seek(0)
    return True


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    name = info.filename
    if info.create_system == _DOS:
        name = name.replace("\\", "/")
    mode = info.external_attr >> 16 if info.create_system == _UNIX else 0
    if info.flag_bits & _ENCRYPTED:
        raise BadArchive("%s is encrypted" % name)
    kind, target = FILE, ""
    if name.endswith("/"):
        kind = FOLDER
    elif stat.S_ISLNK(mode):
        kind = LINK
        target = _zip_target(archive, info)
    elif mode and stat.S_IFMT(mode) and not stat.S_ISREG(mode):
        kind = OTHER
    return Member(
        clean(name),
        kind,
        info.file_size if kind == FILE else 0,
        _zip_time_ns(info),
        bool(mode & 0o100),
        target,
        info,
    )


def _zip_target(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    if info.file_size > _MAX_TARGET:
        raise BadArchive("%s is a link with a target too long" % info.filename)
    try:
        return archive.read(info).decode("utf-8", "surrogateescape")
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError) as exc:
        raise BadArchive(_damaged(info.filename, exc)) from exc


def _zip_time_ns(info: zipfile.ZipInfo) -> int:
    try:
        return int(time.mktime((*info.date_time, 0, 0, -1))) * 10**9
    except (ValueError, OverflowError):
        return 0


def _tar_member(info: tarfile.TarInfo) -> Member:
    kind = OTHER
    if info.isreg():
        kind = FILE
    elif info.isdir():
        kind = FOLDER
    elif info.issym():
        kind = LINK
    elif info.islnk():
        kind = HARD_LINK
    return Member(
        clean(info.name),
        kind,
        info.size if kind == FILE else 0,
        _tar_time_ns(info.mtime),
        bool(info.mode & 0o100),
        clean(info.linkname) if kind == HARD_LINK else info.linkname,
        info,
    )


def _tar_time_ns(seconds: float) -> int:
    """What no clock shows becomes 1970: the content counts."""
    try:
        found = int(seconds * 10**9)
    except (ValueError, OverflowError):  # not a number, or without end
        return 0
    return found if abs(found) < _MAX_TIME_NS else 0


def clean(name: str) -> str:
    """A member's name as a plain path; "" is the folder itself. BadArchive."""
    if name.startswith("/") or "\0" in name:
        raise BadArchive("it holds the absolute path %r" % name)
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise BadArchive("it holds %r, which leads out of its folder" % name)
    return "/".join(parts)


def _unreadable(head: bytes, exc: Exception) -> str:
    missing = {b"BZ": "bz2", b"\xfd7": "lzma", _GZIP: "zlib"}.get(head[:2])
    if missing and missing not in sys.modules:
        return "this Python has no %s to read it with" % missing
    if missing and isinstance(exc, tarfile.ReadError):  # its text is a page long
        return "it is damaged, or what is packed in it is no tar archive"
    if head[:2] == b"PK" or missing:
        return "the archive is damaged (%s)" % exc
    return "it is no zip and no tar archive that can be read"


def _damaged(path: str, exc: Exception) -> str:
    return "the archive is damaged at %s (%s)" % (path, exc or type(exc).__name__)
