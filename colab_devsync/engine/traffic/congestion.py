"""How many bulk bytes may be on their way, so that a save never waits behind them.

All that is in flight stands before a save in the tunnel's queue. The pings see that
queue: when it grows, less is sent. No clock of its own, no I/O; `Window` is shared by
the streams' threads, `Steering` follows the pings, `Pace` is the decision alone.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import takewhile

from ...errors import LinkLost

TARGET_S = 0.06  # queueing delay above which less is sent
FLOOR = 128 << 10  # bytes; never less, or a slow link would stand still
FIRST = 192 << 10  # bytes, over all streams, at the start: nothing is known of the link
LIMIT = 48 << 20
_LOOKS = 3  # pings of which the best counts: one high ping is the machine's noise
_CLEAR_S = 0.2
_LEAP = 6.0  # times as much in a round trip, at most
_RATE_S = 0.5  # what arrived this long ago tells how fast the link is
_GUESS = 500_000  # bytes/s, the slowest link we have patience for
_SMALLEST, _LARGEST = 32 << 10, 2 << 20  # bytes in one frame
_SLOW = 30e6  # bytes/s; below, compressing is faster than sending


@dataclass(frozen=True)
class Pace:
    """The bytes that may be on their way, and whether they still double."""

    size: int
    is_fast: bool = True
    target_s: float = TARGET_S
    floor: int = FLOOR

    def arrived(self, size: int, limit: int, late_s: float | None = None) -> Pace:
        """At the start, what arrives makes room for as much again: it doubles every
        round trip. `late_s`: how much longer than a ping it took; a slow link shows
        itself by that before the next ping. The less of it queues, the more follows:
        up to what would queue for half of what we allow."""
        allowed_s = self.target_s / 2
        if not self.is_fast or (late_s is not None and late_s > allowed_s):
            return self
        times = 2.0
        if late_s is not None:
            times = min(_LEAP, max(times, allowed_s / max(late_s, 0.001)))
        return self._at(min(limit, self.size + int((times - 1) * size)))

    def slow(self) -> Pace:
        """Doubles no more."""
        return replace(self, is_fast=False)

    def _at(self, size: int) -> Pace:
        return replace(self, size=size)

    def balanced(self, delay_s: float, lowest_s: float, used: int) -> Pace:
        """Once per round trip. What is on its way stands in the link for `lowest_s`
        and in its queue for `delay_s`: as much of it stays as makes a short queue."""
        goal_s = lowest_s + self.target_s * 2 / 3
        fitting = int(self.size * goal_s / (lowest_s + delay_s))
        if delay_s > self.target_s:
            return self.slow()._at(max(self.floor, self.size // 2, fitting))
        if used < self.size * 3 // 4:
            return self  # what is not used up tells nothing about more
        most = self.size * (9 if self.is_fast else 12) // 8
        return self._at(max(self.floor, min(LIMIT, most, fitting)))

    def looked(self, delay_s: float, room_s: float, rate: float, used: int) -> Pace:
        """After a ping. `delay_s`: what pings wait in the queue; `room_s`: the empty
        link's round trip and the wait we allow; `rate`: what arrives, in bytes/s."""
        if delay_s > self.target_s:
            # What the link carries in that time fills it; half is the most we dare.
            fitting = max(self.size // 2, int(rate * room_s))
            size = max(self.floor, min(self.size * 4 // 5, fitting))
            return self.slow()._at(size)
        if self.is_fast or delay_s > self.target_s / 2 or used < self.size * 3 // 4:
            return self  # what is not used up tells nothing about more
        return self._at(min(LIMIT, self.size * 9 // 8 + (16 << 10)))


class Steering:
    """A pace that follows the pings. Its owner holds a lock."""

    def __init__(self, pace: Pace, clock: Callable[[], float] = time.monotonic) -> None:
        self.pace = pace
        self._clock = clock
        self._delays: deque[float] = deque(maxlen=_LOOKS)
        self._arrivals: deque[tuple[float, int]] = deque()
        self._arrived = 0  # their sum
        self._blind_until = 0.0  # the pings before saw what was before
        self.speed = 0.0  # bytes/s, when something arrived last

    def arrived(self, size: int, limit: int, late_s: float | None = None) -> None:
        self.pace = self.pace.arrived(size, limit, late_s)
        self._arrivals.append((self._clock(), size))
        self._arrived += size
        self.speed = self.rate()

    def look(self, delay_s: float, lowest_s: float, used: int) -> None:
        """See `Window.look`; `used` = what is on its way now."""
        self._delays.append(delay_s)
        if delay_s > _CLEAR_S:  # no noise: at least stop doubling
            self.pace = self.pace.slow()
        if len(self._delays) == _LOOKS:
            room_s = lowest_s + self.pace.target_s / 2
            self.pace = self.pace.looked(min(self._delays), room_s, self.rate(), used)

    def balance(self, delay_s: float, lowest_s: float, used: int) -> None:
        """As `look`, but waits until the pings have seen what it did last."""
        if delay_s > _CLEAR_S:
            self.pace = self.pace.slow()
        now = self._clock()
        if now < self._blind_until:
            return
        self._delays.append(delay_s)
        if len(self._delays) < _LOOKS:
            return
        delay_s = min(self._delays)
        before, self.pace = self.pace, self.pace.balanced(delay_s, lowest_s, used)
        if self.pace.size != before.size:
            self._blind_until = now + lowest_s + delay_s
            self._delays.clear()

    def settle(self, size: int) -> None:
        """The link showed itself: that much at most, and no more doubling."""
        pace = self.pace.slow()
        self.pace = replace(pace, size=max(pace.floor, min(pace.size, size)))

    def rest(self) -> None:
        """Nothing is on its way: earlier pings tell nothing about later ones."""
        self._delays.clear()

    def rate(self) -> float:
        now = self._clock()
        while self._arrivals and self._arrivals[0][0] < now - _RATE_S:
            self._arrived -= self._arrivals.popleft()[1]
        return self._arrived / _RATE_S

    def arrived_within(self, seconds: float) -> int:
        """Bytes; half a second at most."""
        since = self._clock() - seconds
        recent = takewhile(lambda one: one[0] > since, reversed(self._arrivals))
        return sum(size for _, size in recent)


class Window:
    """Bounds the bytes that were sent and not acknowledged. Any thread."""

    def __init__(
        self,
        first: int = FIRST,
        limit: int = LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._steering = Steering(Pace(first), clock)
        self._limit = limit
        self._used = 0
        self._lowest_s = 0.0  # round trip of the empty link, once a ping has told
        self._changed = threading.Condition()
        self._closed = False

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
        return self._used + size <= self.size

    def release(self, size: int, took_s: float | None = None) -> None:
        """`took_s`: from its sending to its acknowledgement."""
        with self._changed:
            self._used -= size
            late_s = None if took_s is None else took_s - self._lowest_s
            self._steering.arrived(size, self._limit, late_s)
            self._changed.notify_all()

    def look(self, delay_s: float, lowest_s: float) -> None:
        """A ping is back (or overdue): it waited `delay_s` behind other traffic, of
        a round trip that is `lowest_s` on the empty link."""
        with self._changed:
            self._lowest_s = lowest_s
            if self._used == 0:
                self._steering.rest()
                return
            self._steering.balance(delay_s, lowest_s, self._used)
            self._changed.notify_all()

    @property
    def size(self) -> int:
        return self._steering.pace.size

    @property
    def is_used(self) -> bool:
        return self._used > 0

    @property
    def is_slow(self) -> bool:
        """Whether sending less is worth computing more."""
        return not self._steering.pace.is_fast and self._steering.speed < _SLOW

    @property
    def frame(self) -> int:
        """Bytes one frame should carry: several must fit, or acknowledgements, which
        come frame by frame, steer nothing."""
        return max(_SMALLEST, min(_LARGEST, self.size // 16))

    @property
    def batch(self) -> int:
        """The same for many small files, which cost more per frame."""
        return _LARGEST if self._steering.pace.is_fast else self.frame

    def patience_s(self) -> float:
        """How long an answer may stand behind what is on its way."""
        return self._used / max(self._steering.speed / 2, _GUESS)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
