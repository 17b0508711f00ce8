"""How many bytes of files may be on their way to us, so that a save never waits.

Who asks for pieces knows best what the link carries: it counts what arrives. As much as
that carries in a round trip and in the short wait we allow is asked for ahead, no more:
the queue in the tunnel then stays as short as that wait, whatever the link. Pings tell
the round trip of the empty link, and when something else makes a queue.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from ...errors import LinkLost

WAIT_S = 0.045  # the queue we allow ourselves
SHORT_S = 0.025  # on a fast link, where the queue is in our own machine
FIRST = 192 << 10  # bytes
FLOOR = 96 << 10  # bytes; never less, or a slow link would stand still
LIMIT = 64 << 20
_NEAR_S = 0.05  # a round trip, until one is known
_NEXT_ROOM_S = 0.005  # a round trip there
_CROWDED_S = 0.09  # pings that wait so long: there is more than our own queue
_STARTLED_S = 0.04  # the same at the start, when we may grow fast
_LOOKS = 3  # pings of which the best counts: one high ping is the machine's noise
_RATES = 15  # one for each ping
_OVER_S = 0.3  # what arrived in this time, or in two round trips, is the rate
_BEGUN = 3  # at the start, times what fits; the rate is one round trip behind
_TICK_S = 0.01
_FULL = 0.7
_FAST = 30e6  # bytes/s
_FASTEST = 150e6  # bytes/s, where the round trip is long enough to tell
_AMPLE = 8 << 20  # bytes; enough nearby
_GROWTH = 1.3  # in a round trip, while there is no queue
_LEAST = 0.6  # of the room is left, however crowded it is
_GUESS = 500_000  # bytes/s, the slowest link we have patience for
_SMALLEST, _LARGEST = 16 << 10, 2 << 20  # bytes in one answer
_SLOW = 10e6  # bytes/s; below, compressing is faster than sending


@dataclass(frozen=True)
class Ahead:
    """The bytes that may be asked for ahead, and whether they still double."""

    size: int = FIRST
    is_fast: bool = True

    def arrived(self, size: int, fitting: float) -> Ahead:
        """At the start, what arrives makes room for as much again."""
        if not self.is_fast:
            return self
        grown = _bounded(self.size + size)
        if grown > max(FIRST, _BEGUN * fitting):
            return self.settled(fitting)
        return replace(self, size=grown)

    def settled(self, fitting: float) -> Ahead:
        return Ahead(_bounded(fitting), is_fast=False)

    def steered(self, fitting: float, share: float) -> Ahead:
        """Towards what fits; `share` of the way."""
        if self.is_fast:
            return self
        return replace(self, size=_bounded(self.size + (fitting - self.size) * share))

    def crowded(self, fitting: float) -> Ahead:
        """Others have a queue before us, or we had one: step back."""
        size = max(self.size * _LEAST, min(fitting, self.size * 0.8))
        return Ahead(_bounded(size), is_fast=False)


def _bounded(size: float) -> int:
    return int(max(FLOOR, min(LIMIT, size)))


class Intake:
    """Bounds the bytes that were asked for and have not come. Any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ahead = Ahead()
        self._used = 0
        self._awaited: int | None = None  # bytes that somebody waits for room for
        self._most = 0  # used at a time, since the last step
        self._changed = threading.Condition()
        self._closed = False
        self._lowest_s = _NEAR_S
        self._delays: deque[float] = deque(maxlen=_LOOKS)
        self._rates: deque[float] = deque(maxlen=_RATES)
        self._arrivals: deque[tuple[float, int]] = deque()
        self._sum = 0
        self._stepped_at = clock()
        self._began = clock()  # of the busy time we are in

    # --- asking -------------------------------------------------------------------

    def acquire(self, size: int) -> None:
        """Waits for room. LinkLost when closed. One thread only."""
        with self._changed:
            # Something larger than the room passes alone.
            self._awaited = size
            self._changed.wait_for(self._has_room)
            self._awaited = None
            if self._closed:
                raise LinkLost("The connection was closed.")
            if not self._used:
                self._begin()
            self._used += size
            self._most = max(self._most, self._used)

    def _has_room(self) -> bool:
        return self._closed or not self._used or self.fits(self._awaited or 0)

    def _wake(self) -> None:
        """Who waits, but not for each of thousands of pieces."""
        if self._awaited is not None and self._has_room():
            self._changed.notify_all()

    def fits(self, size: int) -> bool:
        """Whether there is room for so many more bytes."""
        return self._used + size <= self._ahead.size

    def cancel(self, size: int) -> None:
        """What was acquired does not travel after all."""
        with self._changed:
            self._used -= size
            self._wake()

    def release(self, size: int) -> None:
        """So much has arrived."""
        with self._changed:
            now = self._clock()
            self._used -= size
            self._arrivals.append((now, size))
            self._sum += size
            if self._ahead.is_fast:
                self._ahead = self._ahead.arrived(size, self._fitting(now))
            if now - self._stepped_at >= _TICK_S:
                self._step(now)
            self._wake()

    # --- steering -----------------------------------------------------------------

    def look(self, delay_s: float, lowest_s: float) -> None:
        """A ping is back (or overdue): it waited `delay_s` behind other traffic, of
        a round trip that is `lowest_s` on the empty link."""
        with self._changed:
            self._lowest_s = lowest_s
            if not self._used:
                self._delays.clear()
                return
            now = self._clock()
            self._delays.append(delay_s)
            if not self._ahead.is_fast:
                self._rates.append(self._rate(now))
            if self._ahead.is_fast and delay_s > _STARTLED_S:
                self._ahead = self._ahead.settled(self._fitting(now))
            if len(self._delays) == _LOOKS and min(self._delays) > _CROWDED_S:
                self._ahead = self._ahead.crowded(self._fitting(now))
                self._delays.clear()  # the pings under way saw what was before

    def _begin(self) -> None:
        """After a rest, what arrived before it says nothing about the rate."""
        now = self._clock()
        if self._arrivals and now - self._arrivals[-1][0] > 2 * self._lowest_s + 0.1:
            self._arrivals.clear()
            self._sum = 0
        if not self._arrivals:
            self._began = self._stepped_at = now
            self._delays.clear()
            self._rates.clear()

    def _step(self, now: float) -> None:
        """What is not used up tells nothing about more, or less."""
        is_full = self._most >= self._ahead.size * _FULL
        self._most = self._used
        span, self._stepped_at = now - self._stepped_at, now
        if is_full and now - self._began > self._horizon_s():
            share = min(1.0, span / (self._lowest_s + WAIT_S))
            fitting = self._fitting(now)
            if self._is_clear():
                # It is not the link that is slow: its machine or ours paused.
                most = self._rate(now) * (self._lowest_s + _CROWDED_S)
                most = min(most, self._ceiling())
                fitting = max(fitting, min(self._ahead.size * _GROWTH, most))
                fitting = max(fitting, self._ahead.size)
            self._ahead = self._ahead.steered(fitting, share)

    def _is_clear(self) -> bool:
        """Whether pings see no queue at all."""
        return bool(self._delays) and min(self._delays) < SHORT_S / 2

    def _fitting(self, now: float) -> float:
        rate = self._rate(now)
        if self._rates and rate < _FAST:
            # A machine that paused for a moment is no slower link. On a fast one the
            # machine is what is slow, and has saves to serve.
            rate = max(rate, statistics.median(self._rates))
        wait_s = SHORT_S if rate > _FAST else WAIT_S
        return min(rate * (self._lowest_s + wait_s), self._ceiling())

    def _ceiling(self) -> float:
        """Bytes; more would leave nothing of this machine to others."""
        return _AMPLE + _FASTEST * self._lowest_s

    def _horizon_s(self) -> float:
        if self._ahead.is_fast:
            return self._lowest_s + WAIT_S
        return max(_OVER_S, 2 * self._lowest_s)

    def _rate(self, now: float) -> float:
        horizon = self._horizon_s()
        while self._arrivals and self._arrivals[0][0] < now - horizon:
            self._sum -= self._arrivals.popleft()[1]
        # While it has just begun, nothing could arrive for one round trip.
        span = min(horizon, max(_TICK_S, now - self._began - self._lowest_s))
        return self._sum / span

    # --- for others ---------------------------------------------------------------

    @property
    def size(self) -> int:
        return self._ahead.size

    @property
    def is_used(self) -> bool:
        return self._used > 0

    @property
    def is_slow(self) -> bool:
        """Whether sending less is worth computing more."""
        with self._changed:
            return not self._ahead.is_fast and self._rate(self._clock()) < _SLOW

    @property
    def piece(self) -> int:
        """Bytes to ask for at once: several must be under way to steer anything. In
        the next room nothing needs steering, and each question costs time to ask."""
        several = 4 if self._lowest_s < _NEXT_ROOM_S else 8
        return max(_SMALLEST, min(_LARGEST, self._ahead.size // several))

    def patience_s(self) -> float:
        """How long an answer may stand behind what is on its way."""
        with self._changed:
            rate = self._rate(self._clock())
        return self._used / max(rate / 2, _GUESS)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
