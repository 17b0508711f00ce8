"""One attempt to bring files to the VM over one connection.

Small files travel many in a frame, large ones in pieces over all streams at once. Work
is handed out when a stream is free, so nothing piles up, and always behind what the
mirror sends. Called by the streams' threads and the agent's reader.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ...agent import hashing, wire
from ...core.plan import RACY_NS
from ...core.pushing import Skipped
from ...errors import DevsyncError, RemoteRefused, StaleAgent
from ...remote.client import Meta, Reply
from ..traffic.bulk import Bulk, Job, Lane
from . import pieces
from .listing import FOLDER, Source, look, shown
from .pieces import Pieces, Range

_STREAMS = 24  # more than any connection has
_BATCH_FILES = 128
_PIECE = 512 << 10  # bytes at most: what is cut inside a piece is sent again
_PIECES = 200_000  # of one file at most: their list travels in one answer
_TRIES = 4  # of a file that changes while it is sent

Step = Callable[[Lane], None]


@dataclass(eq=False)
class Large:
    """A file in pieces: what must be sent still, and what has arrived."""

    source: Source
    gaps: list[Range]
    arrived: Pieces = field(default_factory=dict)
    looked_ns: int = 0
    flying: int = 0
    tries: int = 1
    is_suspect: bool = False  # the VM holds something else than we believe


@dataclass
class Tally:
    """How far a push is; outlives its attempts. Its owner's lock guards it."""

    files: int = 0
    bytes: int = 0  # of these files
    sent: int = 0  # bytes of content on the wire
    is_unsynced: bool = False  # small files are not surely on the VM's disk
    done: set[str] = field(default_factory=set)
    replaced: list[str] = field(default_factory=list)
    refused: list[Skipped] = field(default_factory=list)
    pieces: dict[str, tuple[Source, Pieces]] = field(default_factory=dict)
    """What arrived of a large file, and how the file looked."""


class Sending:
    def __init__(
        self,
        bulk: Bulk,
        base: str,
        tally: Tally,
        *,
        todo: Sequence[Source],
        partly: Sequence[Large],
        keep_pieces: bool,
        fresh: bool = False,
    ) -> None:
        """`todo`: files of which nothing is there; `partly`: something is.
        `keep_pieces`: all travel in pieces, and the VM does not put them together.
        `fresh`: nothing that stands there is replaced."""
        self._bulk = bulk
        self._base = base
        self._tally = tally
        self._keep_pieces = keep_pieces
        self._fresh = fresh
        self._todo = deque(todo)
        self._open: deque[Large] = deque()
        self._whole: deque[Large] = deque()
        self._changed = threading.Condition()
        self._flying = 0
        self._pumps = 0
        self._error: DevsyncError | None = None
        self._is_stopped = False
        self._moving = 0  # bytes that arrived of files that are not whole yet
        self.larges: list[Large] = []
        for large in partly:
            self._begin(large)

    # --- from outside -------------------------------------------------------------

    def start(self) -> None:
        with self._changed:
            self._feed()

    def wait(self, seconds: float) -> bool:
        """Whether it is over, after so long at most. DevsyncError that ended it."""
        with self._changed:
            self._changed.wait_for(self._is_over, seconds)
            if self._error is not None:
                raise self._error
            return self._is_over()

    def stop(self) -> None:
        """Sends no more; what is on its way may still arrive."""
        with self._changed:
            self._is_stopped = True

    def moved(self) -> int:
        """Bytes that are on the VM, of files that are not finished."""
        with self._changed:
            return self._moving

    def _is_over(self) -> bool:
        waiting = self._todo or self._open or self._whole or self._flying
        return self._error is not None or not waiting

    # --- handing out work ---------------------------------------------------------

    def next(self, lane: Lane) -> Step | None:
        """What a free stream shall do; None: nothing at the moment."""
        with self._changed:
            step = None if self._is_stopped or self._error else self._pick(lane)
            if step is None:
                self._pumps -= 1
            else:
                self._flying += 1
            return step

    def _pick(self, lane: Lane) -> Step | None:
        if self._whole:
            return partial(self._end, large=self._whole.popleft())
        if self._open:
            return self._pick_piece(min(lane.frame, _PIECE))
        if not self._todo:
            return None
        if self._keep_pieces or self._todo[0].size > lane.batch:
            first = self._todo.popleft()
            gaps = [(0, first.size)] if first.size else []
            self._begin(Large(first, gaps, looked_ns=time.time_ns()))
            return self._pick(lane)
        return partial(self._send_batch, batch=self._pick_batch(lane.batch))

    def _pick_piece(self, frame: int) -> Step:
        large = self._open[0]
        frame = max(frame, large.source.size // _PIECES)
        start, end = large.gaps.pop(0)
        cut = min(end, start + frame)
        if cut < end:
            large.gaps.insert(0, (cut, end))
        if not large.gaps:
            self._open.popleft()
        large.flying += 1
        return partial(self._send_piece, large=large, at=(start, cut))

    def _pick_batch(self, limit: int) -> list[Source]:
        batch: list[Source] = []
        size = 0
        while self._todo and len(batch) < _BATCH_FILES:
            size += self._todo[0].size
            if batch and size > limit:
                break
            batch.append(self._todo.popleft())
        return batch

    def _begin(self, large: Large) -> None:
        self.larges.append(large)
        self._moving += pieces.total(large.arrived)
        (self._open if large.gaps else self._whole).append(large)

    def _feed(self) -> None:
        """More work has appeared: as many streams as there may be look at it."""
        missing = _STREAMS - self._pumps
        self._pumps = _STREAMS
        for _ in range(missing):
            self._bulk.put_later(_Pump(self))

    def _landed(self) -> None:
        self._flying -= 1
        if self._open or self._whole or self._todo:
            self._feed()
        self._changed.notify_all()

    def fail(self, error: DevsyncError) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    # --- many small files ---------------------------------------------------------

    def _send_batch(self, lane: Lane, batch: list[Source]) -> None:
        entries, payloads, sources = [], [], []
        with lane.turn:
            for source in batch:
                try:
                    now, data = pieces.read_whole(source)
                except OSError as exc:
                    self._refuse(source, exc.strerror or str(exc))
                    continue
                sources.append(now)
                payloads.append(data)
                entries.append(self._entry(now, _hash(now, data), len(data)))
        self._tally.is_unsynced = True
        meta = self._meta("put", entries=entries)

        def replied(reply: Reply) -> None:
            self._batch_ended(sources, reply)

        sent = lane.send(meta, payloads, replied)
        with self._changed:
            self._tally.sent += sent

    def _batch_ended(self, sources: Sequence[Source], reply: Reply) -> None:
        if reply.error is not None:
            self.fail(reply.error)
            return
        with self._changed:
            for source, result in zip(sources, reply.meta()["results"], strict=True):
                self._note(source, result)
            self._landed()

    def _note(self, source: Source, result: wire.Result) -> None:
        """How one file ended. Holds the lock."""
        status, _, reason = result
        if status == wire.OK:
            self._tally.files += source.kind != FOLDER
            self._tally.bytes += source.size
            self._tally.done.add(source.path)
            if reason:
                self._tally.replaced.append(shown(source.path))
        elif status == wire.STALE:
            self._error = StaleAgent(reason)
        elif status == wire.BAD_HASH:  # damaged on its way, which SSH excludes
            self._todo.append(source)
        else:
            self._tally.refused.append(Skipped(shown(source.path), reason))

    def _refuse(self, source: Source, reason: str) -> None:
        with self._changed:
            self._tally.refused.append(Skipped(shown(source.path), reason))

    # --- large files --------------------------------------------------------------

    def _send_piece(self, lane: Lane, large: Large, at: Range) -> None:
        start, end = at
        try:
            piece = pieces.read(large.source.name, start, end - start)
        except OSError as exc:
            self._give_up(large, exc.strerror or str(exc))
            return
        if len(piece) < end - start:  # cut short meanwhile: looked at when all is sent
            self._piece_ended(large, start, None)
            return
        note = (len(piece), hashing.of_bytes(piece))
        meta = self._meta(
            "part", path=large.source.path, source=about(large.source), offset=start
        )

        def replied(reply: Reply) -> None:
            if reply.error is not None:
                self.fail(_named(reply.error, self._base, large.source.path))
            elif "stale" in reply.meta():
                self.fail(StaleAgent(str(reply.meta()["stale"])))
            else:
                self._piece_ended(large, start, note)

        sent = lane.send(meta, [piece], replied)
        with self._changed:
            self._tally.sent += sent

    def _piece_ended(
        self, large: Large, start: int, note: tuple[int, str] | None
    ) -> None:
        with self._changed:
            large.flying -= 1
            if note is not None:
                large.arrived[start] = note
                self._moving += note[0]
            if not large.gaps and not large.flying:
                self._whole.append(large)
            self._landed()

    def _end(self, lane: Lane, large: Large) -> None:
        """All of it is there: was it one and the same file all the time?"""
        try:
            now = look(large.source)
            is_racy = large.looked_ns < large.source.mtime_ns + RACY_NS
            if now != large.source or is_racy or large.is_suspect:
                self._compare(large, now)
        except OSError as exc:
            self._give_up(large, exc.strerror or str(exc))
            return
        if large.gaps or self._keep_pieces:
            with self._changed:
                if large.gaps:
                    self._open.append(large)
                self._landed()
            return
        source = large.source
        entry = self._entry(source, pieces.digest(large.arrived), 0)
        meta = self._meta("end", entry=entry, source=about(source))
        lane.send(meta, [], lambda reply: self._ended(large, reply))

    def _compare(self, large: Large, now: Source) -> None:
        """It changed, or may have: what differs from what was sent is sent again."""
        large.tries += 1
        if large.tries > _TRIES:
            raise OSError("it keeps changing while it is sent")
        with self._changed:
            self._moving -= pieces.total(large.arrived)
        if now.size != large.source.size or large.is_suspect:
            large.arrived = {}  # the VM begins anew as well
        large.source, large.looked_ns, large.is_suspect = now, time.time_ns(), False
        large.arrived = pieces.still_true(now.name, large.arrived)
        large.gaps = pieces.gaps(large.arrived, now.size)
        with self._changed:
            self._moving += pieces.total(large.arrived)

    def _ended(self, large: Large, reply: Reply) -> None:
        if reply.error is not None:
            self.fail(_named(reply.error, self._base, large.source.path))
            return
        result = reply.meta()["results"][0]
        with self._changed:
            if result[0] == wire.BAD_HASH:
                large.is_suspect = True
                self._whole.append(large)
            else:
                self._moving -= pieces.total(large.arrived)
                self._note(large.source, result)
            self._landed()

    def _give_up(self, large: Large, reason: str) -> None:
        """It cannot be read any more; the others go on."""
        with self._changed:
            if large in self._open:
                self._open.remove(large)
            refused = Skipped(shown(large.source.path), reason)
            if refused not in self._tally.refused:  # by another of its pieces
                self._tally.refused.append(refused)
            self._landed()

    def _entry(self, source: Source, content_hash: str, length: int) -> list[Any]:
        """As agent/deposit.py has it."""
        facts = (source.size, source.executable, source.mtime_ns, length)
        return [source.path, source.kind, content_hash, *facts, self._fresh]

    def _meta(self, do: str, **fields: Any) -> Meta:
        return {"op": "push", "do": do, "base": self._base, **fields}


class _Pump(Job):
    """One stream at work for a push; steps back behind all others after each frame."""

    def __init__(self, sending: Sending) -> None:
        self._sending = sending

    def run(self, lane: Lane) -> None:
        step = self._sending.next(lane)
        if step is not None:
            step(lane)
            lane.put_later(self)

    def fail(self, error: DevsyncError) -> None:
        self._sending.fail(error)


def about(source: Source) -> str:
    """What arrives of a file is of use for any version of the same size: each piece is
    compared before it is relied on."""
    return str(source.size)


def _hash(source: Source, data: bytes) -> str:
    if source.kind == wire.LINK:
        return hashing.of_link(source.target)
    return hashing.of_bytes(data)


def _named(error: DevsyncError, base: str, path: str) -> DevsyncError:
    """A refusal of the VM says what it is about."""
    if not isinstance(error, RemoteRefused):
        return error
    return RemoteRefused(
        f"{base}/{path} could not be written: {error.message}.",
        "Make room there, then push again: what has arrived of other files stays.",
    )
