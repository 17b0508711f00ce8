"""The bulk window on links of many kinds, simulated: no queue before a save, no idle
link. A frame waits for those before it, then travels for a round trip."""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass, field

import pytest

from colab_devsync.engine.traffic.congestion import Window

SECONDS = 10.0
PING_S = 0.05
START_S = 1.5
FIRST_TRIPS = 5  # round trips after which the link has to be full


@dataclass
class SimulatedLink:
    """`rate` in bytes/s; `noise_s`: what a busy machine adds to each answer."""

    rate: float
    rtt_s: float
    noise_s: float = 0.0
    now: float = 0.0
    free_at: float = 0.0  # when the queue will be empty
    delivered: int = 0
    queue_s: list[tuple[float, float]] = field(default_factory=list)

    def run(self) -> None:
        noise = random.Random(1)
        window = Window(clock=lambda: self.now)
        window.look(0.0, self.rtt_s)  # the link was pinged before
        events: list[tuple[float, int, str, float, int]] = []
        order = itertools.count()
        flying = 0

        def send(kind: str, size: int) -> None:
            self.free_at = max(self.now, self.free_at) + size / self.rate
            late = noise.expovariate(1 / self.noise_s) if self.noise_s else 0.0
            arrival = self.free_at + self.rtt_s + late
            heapq.heappush(events, (arrival, next(order), kind, self.now, size))

        heapq.heappush(events, (0.0, next(order), "ping", 0.0, 0))
        while events and self.now < SECONDS:
            while not flying or flying + window.frame <= window.size:
                frame = window.frame
                window.acquire(frame)
                flying += frame
                send("frame", frame)
            self.now, _, kind, sent_at, size = heapq.heappop(events)
            if kind == "ping":
                self.queue_s.append((self.now, max(0.0, self.free_at - self.now)))
                send("pong", 100)
                again = self.now + PING_S
                heapq.heappush(events, (again, next(order), "ping", 0.0, 0))
            elif kind == "pong":
                window.look(self.now - sent_at - self.rtt_s, self.rtt_s)
            else:
                window.release(size, self.now - sent_at)
                flying -= size
                self.delivered += size

    def waits_s(self, until: float = SECONDS) -> float:
        """What 95 of 100 saves wait for at most."""
        waits = sorted(queue for at, queue in self.queue_s if at <= until)
        return waits[int(len(waits) * 0.95)]


@pytest.mark.parametrize("noise_s", [0.0, 0.01])
@pytest.mark.parametrize("rtt_s", [0.05, 0.15])
@pytest.mark.parametrize("rate", [2e6, 10e6])
def test_a_narrow_link_is_full_and_saves_do_not_wait(
    rate: float, rtt_s: float, noise_s: float
) -> None:
    link = SimulatedLink(rate, rtt_s, noise_s)
    link.run()
    assert link.delivered >= 0.93 * rate * SECONDS
    assert link.waits_s() <= 0.09
    assert link.waits_s(START_S) <= 0.11


@pytest.mark.parametrize("rtt_s", [0.05, 0.2])
def test_a_wide_link_fills_within_a_few_round_trips(rtt_s: float) -> None:
    link = SimulatedLink(150e6, rtt_s)
    link.run()
    assert link.delivered >= 150e6 * (SECONDS - FIRST_TRIPS * rtt_s)
    assert link.waits_s() <= 0.09
