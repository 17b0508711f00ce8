"""Gives a client pieces of files, exactly of the versions it names.

One thread per stream; requests are answered in order, with their numbers. Nothing of a
file is kept in memory: pieces go from the page cache to the socket.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import stat
import sys
import threading
from typing import Any, BinaryIO, Dict, Iterator, List, NamedTuple, Tuple

assert sys.platform != "win32"  # runs on the VM only

from . import gmac, wire
from .pulling_folder import _MASK
from .refusal import in_words

_MAX_HELD = 16
_BLOCK = 1 << 20
_HASHED = 256 << 10  # bytes at a time, which stay in the processor's cache
_MORE = getattr(socket, "MSG_MORE", 0)  # its data follows at once


class Changed(Exception):
    """The file is not the version that was asked for any more."""


class Wanted(NamedTuple):
    """One version of a file. `grows`: later ones only have more at the end."""

    folder: str
    path: str
    dev: int
    ino: int
    size: int
    mtime_ns: int
    grows: bool


class _Open:
    """An open file."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.users = 0
        self.is_dropped = False


class Held:
    """Open files, shared by all streams: a version that was replaced by a new file
    can then still be read to its end. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: Dict[Wanted, _Open] = {}

    def use(self, wanted: Wanted) -> int:
        """A descriptor, to be given back with `leave`. Changed, OSError."""
        with self._lock:
            held = self._open.get(wanted)
            if held is None:
                held = self._open[wanted] = _Open(_opened(wanted))
                self._trim()
            held.users += 1
        try:
            _check(held.fd, wanted)
        except Changed:
            self.leave(wanted)
            self.drop(wanted)
            raise
        return held.fd

    def leave(self, wanted: Wanted) -> None:
        with self._lock:
            held = self._open.get(wanted)
            if held is not None:
                held.users -= 1
                if held.is_dropped:
                    self._close_unused(wanted)

    def drop(self, wanted: Wanted) -> None:
        """Nobody needs it any more, or ever again: one that was deleted takes no more
        of the disk then, as soon as what was asked for is sent."""
        with self._lock:
            held = self._open.get(wanted)
            if held is not None:
                held.is_dropped = True
                self._close_unused(wanted)

    def _trim(self) -> None:
        for wanted in list(self._open)[:-1]:
            if len(self._open) <= _MAX_HELD:
                return
            self._close_unused(wanted)

    def _close_unused(self, wanted: Wanted) -> None:
        if self._open[wanted].users <= 0:
            os.close(self._open.pop(wanted).fd)

    def clear(self) -> None:
        """The client has hung up."""
        for wanted in list(self._open):
            self.drop(wanted)


class Reads:
    """All streams of one client."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._held = Held()
        self._streams = 0
        self._lock = threading.Lock()

    def serve(self, connection: socket.socket, reader: BinaryIO) -> None:
        """Until the client hangs up. OSError, WireError."""
        with self._lock:
            self._streams += 1
        try:
            for frame in iter(lambda: wire.read_frame(reader), None):
                self._answer(connection, frame)
        finally:
            with self._lock:
                self._streams -= 1
                if not self._streams:
                    self._held.clear()

    def _answer(self, connection: socket.socket, frame: wire.Frame) -> None:
        meta, operation = frame.meta, frame.meta.get("op")
        if operation == "range":
            self._range(connection, frame)
        elif operation == "digests":
            found = self._guarded(meta)
            connection.sendall(wire.encode(frame.seq, found))
        elif operation == "files":
            about, data = self._files(meta)
            connection.sendall(wire.encode(frame.seq, about, data))
        elif operation == "drop":
            self._held.drop(self._wanted(meta["file"]))
        else:
            raise wire.WireError("unknown operation %r" % operation)

    def _wanted(self, about: List[Any]) -> Wanted:
        folder, path, dev, ino, size, mtime_ns, grows = about
        place = os.path.normpath(os.path.join(self._root, str(folder)))
        return Wanted(place, path, dev, ino, size, mtime_ns, bool(grows))

    # --- one piece ----------------------------------------------------------------

    def _range(self, connection: socket.socket, frame: wire.Frame) -> None:
        offset, size = int(frame.meta["offset"]), int(frame.meta["size"])
        wanted = self._wanted(frame.meta["file"])
        try:
            fd = self._held.use(wanted)
        except (Changed, OSError) as exc:
            connection.sendall(wire.encode(frame.seq, _failed(exc)))
            return
        try:
            hole = _hole_end(fd, offset, size)
            if hole:
                connection.sendall(wire.encode(frame.seq, {"hole": hole}))
            elif frame.meta.get("pack"):
                data, packed = wire.deflate(_padded(fd, offset, size))
                connection.sendall(wire.encode(frame.seq, {"z": packed}, data))
            else:
                head = wire.HEADER.pack(frame.seq, 2, size) + b"{}"
                connection.sendall(head, _MORE)
                _send_piece(connection, fd, offset, size)
        finally:
            self._held.leave(wanted)

    # --- hashes -------------------------------------------------------------------

    def _guarded(self, meta: wire.Meta) -> wire.Meta:
        wanted = self._wanted(meta["file"])
        try:
            fd = self._held.use(wanted)
        except (Changed, OSError) as exc:
            return _failed(exc)
        try:
            return {"hashes": list(_digests(fd, meta, wanted))}
        except (Changed, OSError) as exc:
            return _failed(exc)
        finally:
            self._held.leave(wanted)

    # --- many small ones ----------------------------------------------------------

    def _files(self, meta: wire.Meta) -> Tuple[wire.Meta, bytes]:
        results: List[object] = []
        pieces: List[bytes] = []
        for about in meta["files"]:
            wanted = self._wanted(about)
            try:
                data = _whole(wanted)
            except (Changed, OSError) as exc:
                results.append(_failed(exc))
                continue
            results.append(hashlib.sha256(data).hexdigest())
            pieces.append(data)
        whole = b"".join(pieces)
        if meta.get("pack"):
            whole, packed = wire.deflate(whole)
            return {"results": results, "z": packed}, whole
        return {"results": results}, whole


def _whole(wanted: Wanted) -> bytes:
    fd = _opened(wanted)
    try:
        data = os.pread(fd, wanted.size, 0)
        _check(fd, wanted)
    finally:
        os.close(fd)
    if len(data) < wanted.size:
        raise Changed("it was cut off")
    return data


def _opened(wanted: Wanted) -> int:
    """Never outside of the folder, wherever links lead. Changed, OSError."""
    real = os.path.realpath(wanted.folder)
    place = os.path.realpath(os.path.join(real, wanted.path))
    if not place.startswith(real.rstrip("/") + "/"):
        raise PermissionError(errno.EPERM, "it leads out of the folder")
    fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check(fd, wanted)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check(fd: int, wanted: Wanted) -> None:
    now = os.fstat(fd)
    same = (now.st_dev & _MASK, now.st_ino & _MASK) == (wanted.dev, wanted.ino)
    if wanted.grows:
        same = same and now.st_size >= wanted.size
    else:
        same = same and (now.st_size, now.st_mtime_ns) == (wanted.size, wanted.mtime_ns)
    if not same or not stat.S_ISREG(now.st_mode):
        raise Changed("it was changed")


def _digests(fd: int, meta: wire.Meta, wanted: Wanted) -> Iterator[str]:
    """The hash of the file up to each of the ascending points, as text.

    "gmac:KEY:TAG" where it is asked for and can be had; else the digits of SHA-256.
    """
    points, form, kind = meta["points"], meta.get("form", ""), gmac.found()
    name, _, key = form.partition(":")
    if name == "gmac" and kind is not None:
        sums = [kind(bytes.fromhex(key)) for _ in points]
    else:
        form, sums = "", [hashlib.sha256() for _ in points]
    at, buffer = 0, memoryview(bytearray(_HASHED))
    for number, point in enumerate(points):
        while at < point:
            block = buffer[: min(_HASHED, point - at)]
            size = os.preadv(fd, [block], at)
            if not size:
                raise Changed("it was cut off")
            for one in sums[number:]:
                one.update(block[:size])
            at += size
        yield form + ":" * bool(form) + sums[number].hexdigest()
    _check(fd, wanted)


def _hole_end(fd: int, offset: int, size: int) -> int:
    """If nothing but zeros is there, up to where; else 0."""
    try:
        end = os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as exc:
        end = os.fstat(fd).st_size if exc.errno == errno.ENXIO else 0
    return end if end >= offset + size else 0


def _padded(fd: int, offset: int, size: int) -> bytes:
    """What is missing because the file shrank, its hash will tell."""
    data = os.pread(fd, size, offset)
    return data + bytes(size - len(data))


def _send_piece(connection: socket.socket, fd: int, offset: int, size: int) -> None:
    end = offset + size
    while offset < end:
        try:
            sent = os.sendfile(connection.fileno(), fd, offset, end - offset)
        except OSError as exc:
            if exc.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
            data = os.pread(fd, min(_BLOCK, end - offset), offset)
            connection.sendall(data)
            sent = len(data)
        if not sent:  # it shrank, as its hash will tell; the frame was promised
            connection.sendall(bytes(end - offset))
            return
        offset += sent


def _failed(exc: Exception) -> wire.Meta:
    if isinstance(exc, OSError) and exc.errno != errno.ENOENT:
        return {"failed": in_words(exc)}
    return {"changed": True}
