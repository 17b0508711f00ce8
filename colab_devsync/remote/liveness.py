"""Notices a dead tunnel, and measures the round trip.

SSH's own keep-alives do not tell (paramiko sees a frozen tunnel as alive for minutes),
so the agent is pinged. Two threads per agent client: a ping may get stuck in a full
tunnel, and the one that watches must not.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from ..errors import LinkLost
from .client import AgentClient, Reply

BULK_S = 0.05  # while bulk data is on its way
BUSY_S = 1.0
IDLE_S = 5.0
SILENCE_S = 2.2
_TICK_S = 0.2


def silence_limit_s(rtt_s: float | None) -> float:
    """How long nothing may be heard while an answer is due."""
    return max(SILENCE_S, 4 * rtt_s) if rtt_s else SILENCE_S


class Liveness:
    """Pings until the client is lost or closed; loses it after too long a silence."""

    def __init__(
        self,
        client: AgentClient,
        *,
        pace_s: Callable[[], float],
        on_rtt: Callable[[float], None],
        patience_s: Callable[[], float] = lambda: 0.0,
        on_delay: Callable[[float, float], None] = lambda delay_s, lowest_s: None,
    ) -> None:
        """`patience_s`: how much longer an answer may take because of what is on its
        way before it. `on_delay` gets what a ping waited behind other traffic, and
        the lowest round trip so far."""
        self._client = client
        self._pace_s = pace_s
        self._patience_s = patience_s
        self._on_rtt = on_rtt
        self._on_delay = on_delay
        self._stop = threading.Event()
        self._hint = threading.Event()  # the pace may have changed
        self._pings: deque[float] = deque()  # sent, not answered; oldest first
        self._lowest_s = float("inf")
        self.rtt_s: float | None = None  # smoothed

    def start(self) -> None:
        for run, name in ((self._watch, "liveness"), (self._run, "ping")):
            threading.Thread(target=run, name=f"devsync-{name}", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()
        self._hint.set()

    def hurry(self) -> None:
        """The pace is another one from now on. Any thread."""
        self._hint.set()

    def _watch(self) -> None:
        """While this machine has no time for us, it is not the VM that is silent: what
        that said may wait to be read."""
        paused = 0.0  # of the silence we are in
        while True:
            look_s, began = self._look_s(), time.monotonic()
            if self._stop.wait(look_s) or self._client.is_lost:
                return
            silence = self._client.silence_s()
            paused += max(0.0, time.monotonic() - began - look_s)
            paused = min(paused, silence)
            if silence - paused > silence_limit_s(self.rtt_s) + self._patience_s():
                self._client.lose(
                    LinkLost(f"Nothing was heard from the VM for {silence:.1f} s.")
                )
                return

    def _look_s(self) -> float:
        """Short while an answer is due; else until the next ping may be."""
        return _TICK_S if self._client.is_awaiting else BUSY_S

    def _run(self) -> None:
        sent = -IDLE_S
        while not self._client.is_lost:
            if time.monotonic() - sent >= self._pace_s() * 0.9:
                sent = self._ping()
            self._hint.wait(min(self._pace_s(), BUSY_S))
            if self._stop.is_set():
                return
            self._hint.clear()

    def _ping(self) -> float:
        if self._pings and self.rtt_s is not None:
            # One that is overdue tells already how long the queue is at least.
            late = time.monotonic() - self._pings[0] - self._lowest_s
            if late > self._lowest_s:
                self._on_delay(late, self._lowest_s)
        sent = time.monotonic()
        self._pings.append(sent)

        def answered(reply: Reply) -> None:
            self._pings.popleft()
            if reply.error is None:
                self._note(time.monotonic() - sent)

        self._client.send({"op": "ping"}, b"", answered)
        return sent

    def _note(self, rtt_s: float) -> None:
        # As in TCP (RFC 6298): an eighth of each new sample.
        self.rtt_s = (
            rtt_s if self.rtt_s is None else self.rtt_s + (rtt_s - self.rtt_s) / 8
        )
        self._lowest_s = min(self._lowest_s, rtt_s)
        self._on_delay(rtt_s - self._lowest_s, self._lowest_s)
        self._on_rtt(self.rtt_s)
