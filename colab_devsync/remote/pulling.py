"""Streams to the agent that bring files home: which are finished, and their pieces.

Knows frames, not what is done with them. Whoever holds a stream reads it on a thread.
"""

from __future__ import annotations

import io
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..agent import wire
from ..core.pulls import Remote, Version
from ..errors import LinkLost
from ..link.base import Stream
from .client import Meta, RawStream

_PIECE = 1 << 20  # bytes handed on at once; what a broken link may cost a lane
_BUFFER = 256 << 10
# Waking up for every packet costs more than the packet: let some gather.
_GATHERED, _PAUSE_S = 128 << 10, 0.002


@dataclass(frozen=True)
class WatchOrder:
    """A folder to be watched, for what is in `select` and not in `skip`; see
    `core.pulls.selection`."""

    folder: str
    every: float
    select: list[list[object]]
    skip: list[list[object]] = field(default_factory=list)


@dataclass(frozen=True)
class Look:
    """What is new in one watched folder. `now`: the VM's clock, unix time."""

    rule: int
    state: str  # "watching", "absent", "refused"
    message: str
    writing: int
    links: tuple[str, ...]
    now: float
    files: dict[str, Remote]
    gone: tuple[str, ...]


class WatchFeed:
    """News about watched folders, until either side hangs up."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._reader = io.BufferedReader(RawStream(stream), buffer_size=_BUFFER)
        self._is_closed = False

    def begin(self, orders: Sequence[WatchOrder]) -> None:
        """LinkLost."""
        rules = [
            {
                "folder": one.folder,
                "every": one.every,
                "select": one.select,
                "skip": one.skip,
            }
            for one in orders
        ]
        self._stream.write(wire.encode(0, {"op": "watch", "rules": rules}))

    def order(self, number: int) -> None:
        """Look everywhere now: `next` gives the number when that is done. LinkLost."""
        self._stream.write(wire.encode(0, {"op": "look", "number": number}))

    def next(self) -> Look | int:
        """Blocks. LinkLost."""
        try:
            frame = wire.read_frame(self._reader)
        except wire.WireError as exc:
            raise LinkLost(f"The stream of news about files broke: {exc}.") from exc
        if frame is None:
            raise LinkLost("The stream of news about files ended.")
        if frame.meta["op"] == "looked":
            return int(frame.meta["number"])
        return _look(frame)

    def close(self) -> None:
        """Never blocks, though the wire may be full. Idempotent."""
        if not self._is_closed:
            self._is_closed = True
            _close_soon(self._stream)


def _look(frame: wire.Frame) -> Look:
    meta, body = frame.meta, json.loads(wire.inflate(frame))
    return Look(
        rule=int(meta["rule"]),
        state=meta["state"],
        message=meta["message"],
        writing=int(meta["writing"]),
        links=tuple(meta["links"]),
        now=float(meta["now"]),
        files={
            path: Remote(Version(*numbers), bool(grows))
            for path, numbers, grows in body["files"]
        },
        gone=tuple(body["gone"]),
    )


Parts = Sequence[bytes | memoryview]
"""Some bytes, as they came."""


class Answer(Protocol):
    """Gets what one question brings, on the lane's thread. Must not raise."""

    def piece(self, parts: Parts) -> None:
        """Some bytes, in order."""

    def done(self, meta: Meta) -> None:
        """All has come; or nothing, and `meta` says why."""

    def lost(self) -> None:
        """The rest will not come."""


class Lane:
    """One stream of questions and answers, in order."""

    def __init__(self, stream: Stream, on_over: Callable[[], None]) -> None:
        """Must be started. `on_over`: it is of no use any more. LinkLost."""
        self._stream = stream
        self._on_over = on_over
        self._asked: deque[Answer] = deque()
        self._lock = threading.Lock()
        self._is_over = False
        self.outstanding = 0  # bytes asked for, about
        stream.write(wire.encode(0, {"op": "reads"}))

    def start(self, name: str) -> None:
        threading.Thread(target=self._run, name=name, daemon=True).start()

    @property
    def is_over(self) -> bool:
        """Whoever asks hears at once that it is lost."""
        return self._is_over

    def ask(self, meta: Meta, answer: Answer) -> None:
        """Any thread. `answer` hears of everything that goes wrong."""
        with self._lock:
            if not self._is_over:
                self._asked.append(answer)
                try:
                    self._stream.write(wire.encode(1, meta))
                except LinkLost:
                    self._is_over = True  # the reader notices too, and tells all
                return
        answer.lost()

    def tell(self, meta: Meta) -> None:
        """Something that is not answered."""
        with self._lock:
            if self._is_over:
                return
            try:
                self._stream.write(wire.encode(0, meta))
            except LinkLost:
                self._is_over = True

    def close(self) -> None:
        """Never blocks. Idempotent."""
        _close_soon(self._stream)

    # --- its thread ---------------------------------------------------------------

    def _run(self) -> None:
        try:
            while True:
                self._read_one()
        except (LinkLost, wire.WireError):
            pass  # `on_over` is told
        finally:
            with self._lock:
                self._is_over = True
                left, self._asked = list(self._asked), deque()
            for answer in left:
                answer.lost()
            self._on_over()

    def _read_one(self) -> None:
        _, meta_size, size = wire.HEADER.unpack(self._exactly(wire.HEADER.size))
        if meta_size > wire.MAX_META or size > wire.MAX_DATA:
            raise wire.WireError("a frame is too large")
        text = self._exactly(meta_size)
        meta: dict[str, Any] = {} if text == b"{}" else json.loads(text)
        answer = self._asked[0]  # it stays there until all of it has come
        if meta.get("z"):
            data = self._exactly(size)
            answer.piece([wire.inflate(wire.Frame(0, meta, data))])
        else:
            while size:
                parts = self._some(min(size, _PIECE))
                came = sum(map(len, parts))
                size -= came
                answer.piece(parts)
                if size and came < _GATHERED:
                    time.sleep(_PAUSE_S)
        self._asked.popleft()
        answer.done(meta)

    def _some(self, size: int) -> Parts:
        parts = self._stream.read_parts(size)
        if not parts:
            raise LinkLost("A stream of files ended.")
        return parts

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += b"".join(self._some(size - len(data)))
        return data


def _close_soon(stream: Stream) -> None:
    threading.Thread(
        target=stream.close, name="devsync-pull-close", daemon=True
    ).start()
