"""Differences of large files against a version both sides know.

The sender keeps a signature (per block: a checksum and its first bytes) of what the
VM acknowledged, so making a delta needs no round trip and no copy of the old file.
Replaced bytes are stepped over; insertions and deletions are found by searching the
first bytes of later blocks in the new content, which runs at memory speed, because
`bytes.find` does it. What is not found in a bounded search travels as it is.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ..agent.delta import Op

BLOCK = 8 << 10
ANCHOR = 16
_SUM = struct.Struct(">II")
RECORD = ANCHOR + _SUM.size
_NEAR = 8  # blocks after a mismatch that are searched for one by one; then 16, 32 ...
_STEPS = 48  # blocks after a mismatch that are looked for in step
_SHORT = 64 << 10  # how much was inserted, tried first
_LONG = 1 << 20  # how much may have been inserted
_TRIES = 3  # places looked at per anchor

Find = Callable[[bytes, int, int], int]


class Signature(NamedTuple):
    """Blocks of a known version. `records` is RECORD bytes per block."""

    size: int
    records: bytes

    def __len__(self) -> int:  # blocks
        return len(self.records) // RECORD

    def anchor(self, index: int) -> bytes:
        start = index * RECORD
        return self.records[start : start + min(ANCHOR, self.length(index))]

    def length(self, index: int) -> int:
        """BLOCK, but for the last one."""
        return min(BLOCK, self.size - index * BLOCK)

    def checksum(self, index: int) -> bytes:
        start = index * RECORD + ANCHOR
        return self.records[start : start + _SUM.size]


def _checksum(block: bytes | memoryview) -> bytes:
    """Five times as fast as a hash, and enough: who applies a delta checks the hash of
    the whole content, so a block taken for another costs a transfer, never a file."""
    return _SUM.pack(zlib.crc32(block), zlib.adler32(block))


def blocks(content: bytes | memoryview) -> Iterator[memoryview]:
    """Whole blocks, but for the last one."""
    view = memoryview(content)
    return (view[at : at + BLOCK] for at in range(0, len(view), BLOCK))


def sign(blocks: Iterable[bytes | memoryview], size: int) -> Signature:
    """The signature of a file given as consecutive BLOCK-sized pieces."""
    records = bytearray()
    for block in blocks:
        records += bytes(block[:ANCHOR]).ljust(ANCHOR, b"\0")
        records += _checksum(block)
    return Signature(size, bytes(records))


def make(
    base: Signature, new: memoryview, find: Find, signed: Signature
) -> tuple[list[Op], list[tuple[int, int]]]:
    """Instructions that turn `base` into `new`, and the literal ranges of `new`.

    `find(needle, start, end)` searches `new` (bytes.find or mmap.find); `signed` is
    its own signature.
    """
    search = _Search(base, new, find, signed)
    builder = _Builder()
    position, block = 0, 0
    while position < len(new) and block < len(base):
        if search.stands_at(block, position):
            length = base.length(block)
            builder.copy(block * BLOCK, length)
            position, block = position + length, block + 1
            continue
        found = search.resync(block, position)
        if found is None:
            break
        block, where = found
        builder.literal(position, where)
        position = where
    builder.literal(position, len(new))
    return builder.ops, builder.literals


class _Search:
    """Finds where base and new content run in step again."""

    def __init__(
        self, base: Signature, new: memoryview, find: Find, signed: Signature
    ) -> None:
        self._base = base
        self._new = new
        self._find = find
        self._signed = signed

    def stands_at(self, index: int, where: int) -> bool:
        """Whether the base's block is what the new content holds at `where`."""
        length = self._base.length(index)
        if where < 0 or where + length > len(self._new):
            return False
        block, rest = divmod(where, BLOCK)
        if rest == 0 and self._signed.length(block) == length:
            found = self._signed.checksum(block)  # known already
        else:
            found = _checksum(self._new[where : where + length])
        return found == self._base.checksum(index)

    def resync(self, block: int, position: int) -> tuple[int, int] | None:
        """A later block of the base, and where it stands in the new content."""
        return (
            self._in_step(block, position)
            or self._shifted(block, position, _near(block, len(self._base)), _SHORT)
            or self._shifted(block, position, _far(block, len(self._base)), _LONG)
        )

    def _in_step(self, block: int, position: int) -> tuple[int, int] | None:
        """Bytes were replaced: the rest stands where it stood."""
        for candidate in range(block + 1, min(block + _STEPS, len(self._base))):
            where = position + (candidate - block) * BLOCK
            if self.stands_at(candidate, where):
                return candidate, where
        return None

    def _shifted(
        self, block: int, position: int, candidates: Iterable[int], slack: int
    ) -> tuple[int, int] | None:
        for candidate in candidates:
            anchor = self._base.anchor(candidate)
            end = position + (candidate - block + 1) * BLOCK + slack
            where = position - 1
            for _ in range(_TRIES):
                where = self._find(anchor, where + 1, min(end, len(self._new)))
                if where < 0:
                    break
                if self.stands_at(candidate, where):
                    return self._backwards(candidate, where, block, position)
        return None

    def _backwards(
        self, candidate: int, where: int, block: int, position: int
    ) -> tuple[int, int]:
        """The first of the blocks before that run in step with this one."""
        while candidate > block and where - BLOCK >= position:
            if not self.stands_at(candidate - 1, where - BLOCK):
                break
            candidate, where = candidate - 1, where - BLOCK
        return candidate, where


def _near(block: int, count: int) -> Iterable[int]:
    return range(block, min(block + _NEAR, count))


def _far(block: int, count: int) -> Iterator[int]:
    """All near ones once more (in a longer range), then ever larger steps."""
    yield from _near(block, count)
    step = 2 * _NEAR
    while block + step < count:
        yield block + step
        step *= 2


class _Builder:
    """Joins neighbouring instructions."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.literals: list[tuple[int, int]] = []

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
