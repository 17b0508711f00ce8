"""Notices a dead tunnel, and measures the round trip.

SSH's own keep-alives do not tell (paramiko sees a frozen tunnel as alive for minutes),
so the agent is pinged. One thread per agent client.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..errors import LinkLost
from .client import AgentClient, Reply

BULK_S = 0.1  # while bulk data is on its way
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
    ) -> None:
        self._client = client
        self._pace_s = pace_s
        self._on_rtt = on_rtt
        self._stop = threading.Event()
        self.rtt_s: float | None = None  # smoothed
        self.lowest_s = float("inf")
        self.queue_delay_s = 0.0  # what the pings wait behind other traffic, smoothed
        self._sent_at = 0.0

    def start(self) -> None:
        threading.Thread(target=self._run, name="devsync-liveness", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        self._ping()
        while not self._stop.wait(self._wait_s()) and not self._client.is_lost:
            silence, limit = self._client.silence_s(), silence_limit_s(self.rtt_s)
            if silence > limit:
                self._client.lose(
                    LinkLost(f"Nothing was heard from the VM for {silence:.1f} s.")
                )
                return
            if time.monotonic() - self._sent_at >= self._pace_s() - _TICK_S / 2:
                self._ping()

    def _wait_s(self) -> float:
        """Short while an answer is due; else until the next ping."""
        return min(_TICK_S if self._client.is_awaiting else BUSY_S, self._pace_s())

    def _ping(self) -> None:
        sent = self._sent_at = time.monotonic()

        def answered(reply: Reply) -> None:
            if reply.error is None:
                self._note(time.monotonic() - sent)

        self._client.send({"op": "ping"}, b"", answered)

    def _note(self, rtt_s: float) -> None:
        # As in TCP (RFC 6298): an eighth of each new sample.
        self.rtt_s = (
            rtt_s if self.rtt_s is None else self.rtt_s + (rtt_s - self.rtt_s) / 8
        )
        self.lowest_s = min(self.lowest_s, rtt_s)
        self.queue_delay_s = (self.queue_delay_s + rtt_s - self.lowest_s) / 2
        self._on_rtt(self.rtt_s)
