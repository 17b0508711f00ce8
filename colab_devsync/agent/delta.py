"""Differences of large files against a version both sides know.

The sender keeps a signature (per block: its hash and its first bytes) of what the
VM acknowledged, so making a delta needs no round trip and no copy of the old file.
Insertions and deletions are found by searching the first bytes of the next blocks in
the new content; the search runs at memory speed, because `bytes.find` does it.
"""

from __future__ import annotations

import hashlib
import json
import struct
from typing import BinaryIO, Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

BLOCK = 8 << 10
ANCHOR = 16
_HASH = 12
RECORD = ANCHOR + _HASH
_LOOKAHEAD = 48  # blocks tried after a mismatch
_SLACK = 1 << 20  # how much may have been inserted before one of them
_TRIES = 3  # places looked at per anchor

_COUNT = struct.Struct(">I")

Op = Sequence[int]
"""[offset, length] copies from the base; [length] takes the next literal bytes."""


class DeltaError(Exception):
    """The instructions do not fit the base."""


class Signature(NamedTuple):
    """Blocks of a known version. `records` is RECORD bytes per block."""

    size: int
    records: bytes

    def __len__(self) -> int:  # blocks
        return len(self.records) // RECORD

    def anchor(self, index: int) -> bytes:
        start = index * RECORD
        return self.records[start : start + ANCHOR]

    def matches(self, index: int, block: "memoryview") -> bool:
        start = index * RECORD + ANCHOR
        return self.records[start : start + _HASH] == _block_hash(block)


def _block_hash(block: "memoryview") -> bytes:
    return hashlib.blake2b(block, digest_size=_HASH).digest()


def sign(blocks: Iterator[bytes], size: int) -> Signature:
    """The signature of a file given as consecutive BLOCK-sized pieces."""
    records = bytearray()
    for block in blocks:
        records += block[:ANCHOR].ljust(ANCHOR, b"\0")
        records += _block_hash(memoryview(block))
    return Signature(size, bytes(records))


def pieces(stream: BinaryIO) -> Iterator[bytes]:
    """`stream` cut into blocks."""
    return iter(lambda: stream.read(BLOCK), b"")


def make(base: Signature, new: "memoryview", find: Callable[[bytes, int, int], int]) -> Tuple[List[Op], List[Tuple[int, int]]]:
    """Instructions that turn `base` into `new`, and the literal ranges of `new`.

    `find(needle, start, end)` searches `new` (bytes.find or mmap.find).
    """
    builder = _Builder()
    position, block = 0, 0
    while position < len(new) and block < len(base):
        length = _length(base, block)
        piece = new[position : position + length]
        if len(piece) == length and base.matches(block, piece):
            builder.copy(block * BLOCK, length)
            position, block = position + length, block + 1
            continue
        found = _resync(base, new, find, block, position)
        if found is None:
            break
        block, where = found
        builder.literal(position, where)
        position = where
    builder.literal(position, len(new))
    return builder.ops, builder.literals


def _length(base: Signature, block: int) -> int:
    return min(BLOCK, base.size - block * BLOCK)


def _resync(base: Signature, new: "memoryview", find: Callable[[bytes, int, int], int], block: int, position: int) -> Optional[Tuple[int, int]]:
    """The next block of the base that stands in `new`, and where."""
    for candidate in range(block, min(block + _LOOKAHEAD, len(base))):
        length = _length(base, candidate)
        anchor = base.anchor(candidate)[: min(ANCHOR, length)]
        end = min(len(new), position + (candidate - block + 1) * BLOCK + _SLACK)
        where = position
        for _ in range(_TRIES):
            where = find(anchor, where, end)
            if where < 0 or where + length > len(new):
                break
            if base.matches(candidate, new[where : where + length]):
                return candidate, where
            where += 1
    return None


class _Builder:
    """Joins neighbouring instructions."""

    def __init__(self) -> None:
        self.ops = []  # type: List[Op]
        self.literals = []  # type: List[Tuple[int, int]]

    def copy(self, offset: int, length: int) -> None:
        last = self.ops[-1] if self.ops else ()
        if len(last) == 2 and last[0] + last[1] == offset:
            self.ops[-1] = [last[0], last[1] + length]
        else:
            self.ops.append([offset, length])

    def literal(self, start: int, end: int) -> None:
        if end > start:
            self.ops.append([end - start])
            self.literals.append((start, end))


def pack(ops: List[Op], literal: bytes) -> bytes:
    """Instructions and literal bytes as one payload."""
    text = json.dumps(ops, separators=(",", ":")).encode("ascii")
    return _COUNT.pack(len(text)) + text + literal


def apply(payload: bytes, base: BinaryIO, write: Callable[[bytes], object]) -> None:
    """Carries out a packed delta. DeltaError if it is malformed or the base is short."""
    try:
        (length,) = _COUNT.unpack_from(payload)
        ops = json.loads(payload[_COUNT.size : _COUNT.size + length])
    except (struct.error, ValueError) as exc:
        raise DeltaError("malformed delta: %s" % exc) from exc
    position = _COUNT.size + length
    for op in ops:
        if len(op) == 1:
            write(payload[position : position + op[0]])
            position += op[0]
        else:
            _copy(base, op[0], op[1], write)


def _copy(base: BinaryIO, offset: int, length: int, write: Callable[[bytes], object]) -> None:
    base.seek(offset)
    while length > 0:
        data = base.read(min(length, 1 << 20))
        if not data:
            raise DeltaError("the base is shorter than the delta says")
        write(data)
        length -= len(data)
