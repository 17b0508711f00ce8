"""How much of a run's output may be on its way to the client.

All of it stands in the tunnel's queue before the answer to a save. Each acknowledgement
tells how long its piece took; what it took more than on the empty link is the queue.
A flood gets as much as keeps that queue short; a client that does not read, little.
No clock of its own, no I/O.
"""

from __future__ import annotations

from collections import deque
from typing import Deque, NamedTuple

FIRST = 16 << 10  # bytes
FLOOR = 8 << 10
LIMIT = 4 << 20
FASTEST = 50e6  # bytes/s: nobody reads more, and both machines have saves to serve
TARGET_S = 0.02  # queueing delay above which less is sent
_GROWTH = 6  # what arrives makes room for a sixth more: little overshoot
_LASTS_S = 0.04
_STALE_S = 10.0  # after this long under load the empty link is measured anew
_AHEAD = 1.1  # faster than one window per round trip, so that it is filled
_LONG_S = 1.0
_SMALLEST, _LARGEST = 4 << 10, 64 << 10  # bytes in one frame


class _Flying(NamedTuple):
    sent: float
    size: int
    before: int  # bytes in flight when it was sent


class Window:
    """One thread's."""

    def __init__(self) -> None:
        self.size = FIRST
        self.used = 0
        self._flying: Deque[_Flying] = deque()
        self._lowest_s = float("inf")
        self._measured = 0.0  # when
        self._since = 0.0  # what was sent from then on is judged together
        self._least = float("inf")  # its shortest delay
        self._is_probing = False
        self._next = 0.0  # when the next frame may go

    def room(self, now: float) -> int:
        """Bytes that one frame may carry now; 0 if it is better to wait."""
        return self._frame() if self._fits() and now >= self._next else 0

    def pause_s(self, now: float) -> float:
        """How long to wait for room, unless an acknowledgement comes."""
        return max(0.0, self._next - now) if self._fits() else _LONG_S

    def _fits(self) -> bool:
        return self.used + self._frame() <= self._limit()

    def _limit(self) -> int:
        return FLOOR if self._is_probing else self.size

    def _frame(self) -> int:
        """Several fit, so that they steer; none is a mere rest."""
        return max(_SMALLEST, min(_LARGEST, self._limit() // 8))

    def sent(self, size: int, now: float) -> None:
        self._flying.append(_Flying(now, size, self.used))
        self.used += size
        spread = size / FASTEST
        if self._lowest_s < _LONG_S:
            # Over the round trip: a whole window at once would be a queue.
            spread = max(spread, size * self._lowest_s / (self.size * _AHEAD))
        self._next = max(self._next, now - TARGET_S / 2) + spread

    def acked(self, size: int, now: float) -> None:
        """The client has consumed `size` more bytes: whole frames, in order."""
        while self._flying and size >= self._flying[0].size:
            one = self._flying.popleft()
            size -= one.size
            self.used -= one.size
            self._look(one, now)

    def _look(self, one: _Flying, now: float) -> None:
        took = now - one.sent
        is_clear = one.before <= _SMALLEST
        if took <= self._lowest_s or (self._is_probing and is_clear):
            self._lowest_s, self._measured, self._is_probing = took, now, False
        elif now - self._measured > _STALE_S:
            self._is_probing = True
        delay = took - self._lowest_s
        if delay < TARGET_S / 2 and 4 * (one.before + one.size) >= 3 * self.size:
            self.size = min(LIMIT, self.size + one.size // _GROWTH)
        if one.sent >= self._since:
            self._judge(delay, now)

    def _judge(self, delay: float, now: float) -> None:
        """A queue that lasts is one; a machine that pauses is none."""
        self._least = min(self._least, delay)
        if now - self._since < max(2 * self._lowest_s, _LASTS_S):
            return
        if self._least > TARGET_S:
            fitting = (self._lowest_s + TARGET_S / 2) / (self._lowest_s + self._least)
            self.size = max(FLOOR, int(self.size * max(fitting, 0.25)))
        self._since, self._least = now, float("inf")
