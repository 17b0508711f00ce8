"""How much forwarded connections may have on their way, so that a save never waits.

Downloads are bounded by the windows we grant, uploads by what the VM has not taken;
both follow the queue that the pings see. What rests costs the others nothing. Called
by the connections' threads, the SSH transport's and the pinger's; never blocks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .congestion import LIMIT, Pace, Steering

TARGET_S = 0.025  # queueing delay above which less is let on its way
FIRST = 1 << 20  # bytes, over all connections, at the start
OPENING = 256 << 10  # bytes; the window of a new connection at most
_ACTIVE_S = 0.5  # who moved nothing for so long is at rest
_STEP_S = 0.01  # between two looks at the clock's consequences
_STARTLED_S = 0.1  # at the start, one ping that waited so long is enough
_BUSY_BYTES = 16 << 10  # moved within `_ACTIVE_S`; less makes no queue worth a look
_ALIVE_S = 2.0  # while forwarded bytes move, a link is not dead
_PATIENCE_S = 15.0


class Share:
    """One direction of all connections of a link: how much each may have on its way.

    `floor`: bytes per connection that stay allowed; `least`: over all of them.
    """

    def __init__(
        self,
        floor: int,
        least: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._floor = floor
        self._clock = clock
        self._lock = threading.Lock()
        pace = Pace(FIRST, target_s=TARGET_S, floor=least)
        self._steering = Steering(pace, clock)
        self._moved: dict[object, float] = {}  # who moved something, and when last
        self._fresh = 0  # bytes moved since the last step
        self._stepped_at = 0.0
        self._moved_at = -_ALIVE_S
        self._busy = False
        self._lowest_s = 0.0
        self._each = max(floor, pace.size)
        self.on_busy: Callable[[], None] = lambda: None

    @property
    def size(self) -> int:
        """Bytes, over all connections."""
        return self._steering.pace.size

    @property
    def each(self) -> int:
        """Bytes one connection may have on its way now."""
        return self._each

    @property
    def is_used(self) -> bool:
        """Whether enough moves to make a queue."""
        with self._lock:
            self._step()
            return self._busy

    def moved_s(self) -> float:
        """Seconds since anything moved."""
        return self._clock() - self._moved_at

    def opening(self) -> int:
        """The window of one more connection, before it has shown any need."""
        with self._lock:
            self._step()
            room = self.size // (len(self._moved) + 1)
        return max(self._floor, min(OPENING, room))

    def moved(self, who: object, size: int) -> int:
        """`who` moved so many bytes. What it may have on its way from now on."""
        now = self._clock()
        with self._lock:
            newcomer = who not in self._moved
            self._moved[who] = self._moved_at = now
            self._fresh += size
            if newcomer or now - self._stepped_at > _STEP_S:
                self._step()
            return self._each

    def left(self, who: object) -> None:
        with self._lock:
            self._moved.pop(who, None)
            self._step()

    def look(self, delay_s: float, lowest_s: float) -> None:
        """A ping is back; see `Window.look`."""
        with self._lock:
            self._step()
            self._lowest_s = lowest_s
            if not self._busy:
                self._steering.rest()
                return
            if self._steering.pace.is_fast and delay_s > _STARTLED_S:
                self._steering.settle(self._carried())
            # Little's law. A fifth more: windows are given back in pieces.
            used = self._steering.rate() * (lowest_s + delay_s) * 1.2
            before = self.size
            self._steering.look(delay_s, lowest_s, int(used))
            if self.size < before:
                self._steering.rest()  # the pings under way saw what was before
            self._divide()

    def _step(self) -> None:
        now = self._stepped_at = self._clock()
        if self._fresh:
            self._steering.arrived(self._fresh, self._ceiling())
            self._fresh = 0
        if len(self._moved) > 1:
            self._moved = {
                who: last for who, last in self._moved.items() if last > now - _ACTIVE_S
            }
        self._divide()
        was_busy = self._busy
        self._busy = self._steering.rate() * _ACTIVE_S > _BUSY_BYTES
        if self._busy and not was_busy:
            self.on_busy()

    def _ceiling(self) -> int:
        """At the start: twice what the link was seen to carry, so that a trickle
        does not make room for a flood."""
        return min(LIMIT, max(self.size, FIRST + 2 * self._carried()))

    def _carried(self) -> int:
        """Bytes in the last round trip, or so."""
        return self._steering.arrived_within(self._lowest_s + 2 * TARGET_S)

    def _divide(self) -> None:
        self._each = max(self._floor, self.size // max(1, len(self._moved)))


class Flows:
    """Both directions of one link."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.down = Share(floor=32 << 10, least=64 << 10, clock=clock)
        # OpenSSH says what it took in steps of 96 KiB: less would stand still.
        self.up = Share(floor=208 << 10, least=208 << 10, clock=clock)

    def open(self) -> ChannelFlow:
        """For one more connection."""
        return ChannelFlow(self)

    def tell_busy(self, on_busy: Callable[[], None]) -> None:
        """From now on calls `on_busy` when bytes begin to move in bulk. It must not
        block."""
        self.down.on_busy = self.up.on_busy = on_busy

    @property
    def is_used(self) -> bool:
        return self.down.is_used or self.up.is_used

    def look(self, delay_s: float, lowest_s: float) -> None:
        self.down.look(delay_s, lowest_s)
        self.up.look(delay_s, lowest_s)

    def patience_s(self) -> float:
        """How long an answer may stand behind what is on its way."""
        alive = min(self.down.moved_s(), self.up.moved_s()) < _ALIVE_S
        return _PATIENCE_S if alive else 0.0


class ChannelFlow:
    """Implements `Flow` of link/base.py for one connection."""

    def __init__(self, flows: Flows) -> None:
        self._flows = flows
        self._step = 0  # the smallest piece the peer has acknowledged

    def on_read(self, size: int) -> int:
        if not size:
            return self._flows.down.opening()
        return self._flows.down.moved(self, size)

    def may_send(self) -> int:
        # Some servers acknowledge half a window at once; two such steps must fit.
        return max(self._flows.up.each, 2 * self._step)

    def on_taken(self, size: int) -> None:
        self._step = min(self._step or size, size)
        self._flows.up.moved(self, size)

    def close(self) -> None:
        self._flows.down.left(self)
        self._flows.up.left(self)
