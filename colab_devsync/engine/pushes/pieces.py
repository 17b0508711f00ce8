"""Pieces of a large file: which are missing, which are still those of the file.

Reads local files; keeps nothing. The VM's side of it is agent/arrivals.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...agent import hashing, wire
from .listing import FOLDER, Source, look

Pieces = dict[int, tuple[int, str]]  # by offset: length and hash
Range = tuple[int, int]  # start, end

_TRIES = 3


def read(name: str, offset: int, size: int) -> bytes:
    """Up to `size` bytes; fewer if the file ends before. OSError."""
    with open(name, "rb", buffering=0) as stream:
        stream.seek(offset)
        found = []
        while size > 0 and (piece := stream.read(size)):
            found.append(piece)
            size -= len(piece)
    return found[0] if len(found) == 1 else b"".join(found)


def read_whole(source: Source) -> tuple[Source, bytes]:
    """A small file as it was between two equal looks; a link's target. OSError."""
    if source.kind == FOLDER:
        return source, b""
    if source.kind == wire.LINK:
        return source, source.target.encode("utf-8", "surrogateescape")
    for _ in range(_TRIES):
        before = look(source)
        with open(source.name, "rb", buffering=0) as stream:
            data = stream.readall() or b""
        if look(source) == before and len(data) == before.size:
            return before, data
    raise OSError("it keeps changing while it is read")


def gaps(pieces: Mapping[int, tuple[int, str]], size: int) -> list[Range]:
    """What is missing."""
    found: list[Range] = []
    end = 0
    for at in sorted(pieces):
        if at > end:
            found.append((end, at))
        end = at + pieces[at][0]
    if end < size:
        found.append((end, size))
    return found


def still_true(
    name: str,
    pieces: Mapping[int, tuple[int, str]],
    trusted: Mapping[int, tuple[int, str]] | None = None,
) -> Pieces:
    """Those whose hash is that of the file now; `trusted` need no look. OSError."""
    trusted = trusted or {}
    found: Pieces = {}
    end = 0
    for at in sorted(pieces):
        length, content_hash = pieces[at]
        if at < end or length <= 0:
            continue
        if trusted.get(at) == (length, content_hash) or (
            hashing.of_bytes(read(name, at, length)) == content_hash
        ):
            found[at] = (length, content_hash)
            end = at + length
    return found


def within(pieces: Mapping[int, tuple[int, str]], size: int) -> Pieces:
    """Those that lie in a file of this size."""
    return {at: one for at, one in pieces.items() if at >= 0 and at + one[0] <= size}


def total(pieces: Mapping[int, tuple[int, str]]) -> int:
    """Bytes."""
    return sum(length for length, _ in pieces.values())


def digest(pieces: Mapping[int, tuple[int, str]]) -> str:
    """As agent/arrivals.py has it, which runs on POSIX only."""
    lines = [f"{at} {pieces[at][0]} {pieces[at][1]}\n" for at in sorted(pieces)]
    return hashing.of_bytes("".join(lines).encode("ascii"))
