"""How many bulk bytes may be on their way, so that a save never waits behind them.

All that is in flight stands before a save in the tunnel's queue. The pings see that
queue: when it grows, less is sent. No clock of its own, no I/O; `Window` is shared by
the streams' threads, `Pace` is the decision alone.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import LinkLost

TARGET_S = 0.06  # queueing delay above which less is sent
FLOOR = 256 << 10  # bytes; never less, or a slow link would stand still
FIRST = 4 << 20  # bytes, over all streams, at the start
LIMIT = 48 << 20
_LOOKS = 3  # pings of which the best counts: one high ping is the machine's noise
_CLEAR_S = 0.2
_RATE_S = 0.5  # what arrived this long ago tells how fast the link is
_GUESS = 500_000  # bytes/s, the slowest link we have patience for
_SMALLEST, _LARGEST = 64 << 10, 2 << 20  # bytes in one frame
_SLOW = 30e6  # bytes/s; below, compressing is faster than sending


@dataclass(frozen=True)
class Pace:
    """The bytes that may be on their way, and whether they still double."""

    size: int
    is_fast: bool = True

    def arrived(self, size: int, limit: int) -> Pace:
        """At the start, what arrives makes room for as much again: it doubles every
        round trip, so that a slow link shows itself before much stands in its queue."""
        return Pace(min(limit, self.size + size)) if self.is_fast else self

    def looked(self, delay_s: float, room_s: float, rate: float, used: int) -> Pace:
        """After a ping. `delay_s`: what pings wait in the queue; `room_s`: the empty
        link's round trip and the wait we allow; `rate`: what arrives, in bytes/s."""
        if delay_s > TARGET_S:
            # What the link carries in that time fills it; half is the most we dare.
            fitting = max(self.size // 2, int(rate * room_s))
            return Pace(max(FLOOR, min(self.size * 4 // 5, fitting)), is_fast=False)
        if self.is_fast or delay_s > TARGET_S / 2 or used < self.size * 3 // 4:
            return self  # what is not used up tells nothing about more
        return Pace(min(LIMIT, self.size * 9 // 8 + (16 << 10)), is_fast=False)


class Window:
    """Bounds the bytes that were sent and not acknowledged. Any thread."""

    def __init__(
        self,
        first: int = FIRST,
        limit: int = LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pace = Pace(first)
        self._limit = limit
        self._clock = clock
        self._used = 0
        self._changed = threading.Condition()
        self._closed = False
        self._delays: deque[float] = deque(maxlen=_LOOKS)
        self._arrivals: deque[tuple[float, int]] = deque()
        self._speed = 0.0  # bytes/s, when something arrived last

    def acquire(self, size: int) -> None:
        """Waits for room. LinkLost when closed."""
        with self._changed:
            # Something larger than the window passes alone.
            self._changed.wait_for(
                lambda: self._closed or self._used == 0 or self._fits(size)
            )
            if self._closed:
                raise LinkLost("The connection was closed.")
            self._used += size

    def _fits(self, size: int) -> bool:
        return self._used + size <= self._pace.size

    def release(self, size: int) -> None:
        with self._changed:
            self._used -= size
            self._pace = self._pace.arrived(size, self._limit)
            self._arrivals.append((self._clock(), size))
            self._speed = self._rate()
            self._changed.notify_all()

    def look(self, delay_s: float, lowest_s: float) -> None:
        """A ping is back (or overdue): it waited `delay_s` behind other traffic, of
        a round trip that is `lowest_s` on the empty link."""
        with self._changed:
            if self._used == 0:
                self._delays.clear()
                return
            self._delays.append(delay_s)
            if delay_s > _CLEAR_S:  # no noise: at least stop doubling
                self._pace = Pace(self._pace.size, is_fast=False)
            if len(self._delays) < _LOOKS:
                return
            room_s = lowest_s + TARGET_S / 2
            self._pace = self._pace.looked(
                min(self._delays), room_s, self._rate(), self._used
            )
            self._changed.notify_all()

    def _rate(self) -> float:
        now = self._clock()
        while self._arrivals and self._arrivals[0][0] < now - _RATE_S:
            self._arrivals.popleft()
        return sum(size for _, size in self._arrivals) / _RATE_S

    @property
    def size(self) -> int:
        return self._pace.size

    @property
    def is_used(self) -> bool:
        return self._used > 0

    @property
    def is_slow(self) -> bool:
        """Whether sending less is worth computing more."""
        return not self._pace.is_fast and self._speed < _SLOW

    @property
    def frame(self) -> int:
        """Bytes one frame should carry: several must fit, or acknowledgements, which
        come frame by frame, steer nothing."""
        return max(_SMALLEST, min(_LARGEST, self._pace.size // 16))

    @property
    def batch(self) -> int:
        """The same for many small files, which cost more per frame."""
        return _LARGEST if self._pace.is_fast else self.frame

    def patience_s(self) -> float:
        """How long an answer may stand behind what is on its way."""
        return self._used / max(self._speed / 2, _GUESS)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
