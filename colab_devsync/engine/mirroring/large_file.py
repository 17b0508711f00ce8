"""A large file on its way: as a delta if the VM's version is known, else in parts.

Runs on the streams' threads, which send its parts at the same time. Delivers one
Outcome, whatever happens.
"""

from __future__ import annotations

import hashlib
import io
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...agent import hashing, wire
from ...agent.delta import pack
from ...core import delta
from ...core.plan import SMALL, Known
from ...errors import DevsyncError
from ...remote.client import Reply
from ..store import Store
from ..traffic.bulk import Lane
from . import tree
from .transfer import Deliver, Item, Outcome, Ready, finish, is_settled, lost, outcome

PART = 1 << 20
WHOLE = 2 << 20  # bytes; up to here a file travels in one frame
_DELTA_MAX = 256 << 20  # bytes; a larger file is not held in memory for a delta

Chunk = bytes | memoryview


class LargeFile:
    """One file of its own: as a delta if the VM's version is known, else in parts."""

    def __init__(
        self,
        root: Path,
        item: Item,
        store: Store,
        deliver: Deliver,
        progress: Callable[[int], None],
    ) -> None:
        self._name = tree.absolute(root, item.path)
        self._item = item
        self._store = store
        self._deliver = deliver
        self._progress = progress
        self._lock = threading.Lock()
        self._is_over = False
        self._sent = 0
        self._arrived = 0
        # Only what replaces a version must be on disk before it has the name.
        self._is_durable = bool(item.base)

    def run(self, lane: Lane) -> None:
        try:
            with open(self._name, "rb", buffering=0) as stream:
                self._send(lane, stream)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            self.end(Outcome(self._item, "gone"))
        except OSError as exc:
            reason = f"cannot be read: {exc.strerror}"
            self.end(Outcome(self._item, "refused", reason=reason))

    def _send(self, lane: Lane, stream: io.FileIO) -> None:
        looked_ns = time.time_ns()
        about = tree.local_stat(os.fstat(stream.fileno()))
        if about is None or about != self._item.stat:
            self.end(Outcome(self._item, "again", reason="it changed meanwhile"))
            return
        base = self._base(about.size)
        # In memory, not mapped: an editor that truncates a mapped file would kill us.
        content = _read(stream, 0, about.size) if base is not None else b""
        chunks = _cut(content) if base is not None else _chunks(stream, about.size)
        found, signature = _hash_and_sign(chunks, about.size)
        known = Known(found, about, looked_ns)
        if tree.local_stat(os.fstat(stream.fileno())) != about:
            self.end(Outcome(self._item, "again", reason="it changes while it is read"))
        elif is_settled(self._item, known):
            self.end(Outcome(self._item, "ok", known, signature=signature))
        else:
            self._store.note_sent([(self._item.path, found)], durable=False)
            payload = _as_delta(base, content, signature) if base is not None else None
            if payload is not None:
                self._put(lane, known, signature, payload, wire.DELTA)
            else:
                self._put_whole(lane, stream, known, signature)

    def _base(self, size: int) -> delta.Signature | None:
        """The acknowledged version's signature, if the VM holds no other."""
        if list(self._item.accept) != [self._item.base] or size > _DELTA_MAX:
            return None
        return self._store.signature(self._item.path, self._item.base)

    def _put_whole(
        self, lane: Lane, stream: io.FileIO, known: Known, signature: delta.Signature
    ) -> None:
        """One frame, or parts. What is read now may have changed again: then the agent
        finds that the hash is not the announced one, and nothing is lost."""
        size = known.stat.size
        if size <= max(lane.frame, SMALL):
            payload = _read(stream, 0, size)
            self._put(lane, known, signature, payload, wire.FILE)
        else:
            self._split(lane, known, signature)

    def _entry(self, known: Known, kind: str, length: int) -> wire.Entry:
        return wire.Entry(
            self._item.path,
            kind,
            known.hash,
            known.stat.size,
            known.stat.executable,
            list(self._item.accept),
            length,
            self._item.base if kind == wire.DELTA else "",
        )

    def _put(
        self,
        lane: Lane,
        known: Known,
        signature: delta.Signature,
        payload: bytes,
        kind: str,
    ) -> None:
        ready = Ready(
            self._item,
            known,
            self._entry(known, kind, len(payload)),
            payload,
            signature,
        )
        meta = {"op": "put", "entries": [ready.entry], "durable": self._is_durable}
        self._sent = lane.send(
            meta, [payload], lambda reply: self.end(*finish([ready], reply, self._sent))
        )

    def _split(self, lane: Lane, known: Known, signature: delta.Signature) -> None:
        entry = self._entry(known, wire.FILE, 0)
        have: list[tuple[int, int]] = []
        if self._item.resume:
            have = _merged(lane.request({"op": "have", "entry": entry})["ranges"])
        size = known.stat.size
        offsets = [
            at
            for at in range(0, size, PART)
            if not any(a <= at and min(at + PART, size) <= b for a, b in have)
        ]
        # At least one, so that the agent has something to answer.
        for offset in reversed(offsets or [0]):
            lane.put_next(_Part(self, entry, known, signature, offset))

    def send_part(
        self,
        lane: Lane,
        entry: wire.Entry,
        known: Known,
        signature: delta.Signature,
        offset: int,
    ) -> None:
        end = min(offset + PART, known.stat.size)
        with open(self._name, "rb", buffering=0) as stream:
            while not self._is_over:
                wanted = min(lane.frame, end - offset)
                piece = _read(stream, offset, wanted)
                if len(piece) < wanted:  # cut short: the rest will never come
                    reason = "it changes while it is read"
                    self.end(Outcome(self._item, "again", reason=reason))
                    return
                self._send_piece(lane, entry, known, signature, (offset, piece))
                offset += len(piece)
                if offset >= end:
                    return

    def _send_piece(
        self,
        lane: Lane,
        entry: wire.Entry,
        known: Known,
        signature: delta.Signature,
        part: tuple[int, bytes],
    ) -> None:
        offset, piece = part

        def replied(reply: Reply) -> None:
            if reply.error is not None:
                self.end(lost(self._item, reply.error))
            elif (result := reply.meta()["result"]) is not None:
                self.end(
                    outcome(
                        self._item,
                        result,
                        known=known,
                        signature=signature,
                        sent=self._sent,
                    )
                )
            else:
                self._note_arrived(len(piece))

        meta = {"op": "part", "entry": entry, "size": known.stat.size, "offset": offset}
        meta["durable"] = self._is_durable
        size = lane.send(meta, [piece], replied)
        with self._lock:
            self._sent += size

    def _note_arrived(self, size: int) -> None:
        with self._lock:
            if self._is_over:
                return
            self._arrived += size
        self._progress(size)

    def end(self, ended: Outcome) -> None:
        """Delivers once; what else is under way for this file is dropped."""
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
        self._deliver([ended._replace(reported=self._arrived)])

    def fail(self, error: DevsyncError) -> None:
        self.end(lost(self._item, error))


@dataclass(frozen=True)
class _Part:
    """One piece of a large file."""

    file: LargeFile
    entry: wire.Entry
    known: Known
    signature: delta.Signature
    offset: int

    def run(self, lane: Lane) -> None:
        try:
            self.file.send_part(
                lane, self.entry, self.known, self.signature, self.offset
            )
        except OSError as exc:
            self.file.end(Outcome(self.file._item, "again", reason=str(exc)))

    def fail(self, error: DevsyncError) -> None:
        self.file.fail(error)


def _as_delta(
    base: delta.Signature, content: bytes, signature: delta.Signature
) -> bytes | None:
    """Instructions against the acknowledged version, if they are much smaller."""
    if len(content) != signature.size:
        return None  # it was cut off while it was read
    view = memoryview(content)
    ops, literals = delta.make(base, view, content.find, signature)
    if sum(end - start for start, end in literals) > min(len(content) // 2, WHOLE):
        return None
    return pack(ops, b"".join(view[start:end] for start, end in literals))


def _hash_and_sign(chunks: Iterable[Chunk], size: int) -> tuple[str, delta.Signature]:
    """Of a content of `size` bytes. Both at once: neither needs the interpreter."""
    whole = hashlib.sha256()
    unhashed: queue.Queue[Chunk | None] = queue.Queue(2)

    def update() -> None:
        while (chunk := unhashed.get()) is not None:
            whole.update(chunk)

    def blocks() -> Iterator[memoryview]:
        for chunk in chunks:
            unhashed.put(chunk)
            yield from delta.blocks(chunk)

    hasher = threading.Thread(target=update, name="devsync-hash", daemon=True)
    hasher.start()
    try:
        signature = delta.sign(blocks(), size)
    finally:
        unhashed.put(None)
        hasher.join()
    return whole.hexdigest()[: hashing.DIGITS], signature


def _cut(content: bytes) -> Iterator[Chunk]:
    view = memoryview(content)
    return (view[at : at + hashing.CHUNK] for at in range(0, len(view), hashing.CHUNK))


def _chunks(stream: io.FileIO, size: int) -> Iterator[Chunk]:
    """The file, read once, a megabyte at a time."""
    for offset in range(0, size, hashing.CHUNK):
        yield _read(stream, offset, min(hashing.CHUNK, size - offset))


def _read(stream: io.FileIO, offset: int, size: int) -> bytes:
    """Up to `size` bytes from `offset`; fewer if the file ends before."""
    stream.seek(offset)
    pieces = []
    while size > 0 and (piece := stream.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """(start, end) of what (offset, length) pieces cover together."""
    merged: list[tuple[int, int]] = []
    for offset, length in sorted(ranges):
        if merged and offset <= merged[-1][1]:
            start, end = merged.pop()
            merged.append((start, max(end, offset + length)))
        else:
            merged.append((offset, offset + length))
    return merged
