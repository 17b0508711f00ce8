"""How much is asked for ahead: a link in miniature, with a clock of its own."""

from __future__ import annotations

import heapq

import pytest

from colab_devsync.engine.traffic.intake import FLOOR, Intake
from colab_devsync.errors import LinkLost

TICK_S = 0.001


class Link:
    """Answers pass one bottleneck; pings wait behind them."""

    def __init__(self, rtt_s: float, rate: float) -> None:
        self.now = 0.0
        self.rtt_s = rtt_s
        self.rate = rate
        self.intake = Intake(lambda: self.now)
        self.free_at = 0.0  # when the bottleneck has sent what it has
        self.coming: list[tuple[float, int]] = []
        self.delays: list[float] = []
        self.arrived = 0

    def run(self, seconds: float) -> tuple[float, float]:
        """Asks all the time. (bytes/s, the longest wait of a ping)."""
        end, before, next_ping = self.now + seconds, self.arrived, self.now
        self.delays = []
        while self.now < end:
            self._take()
            self._ask()
            if self.now >= next_ping:
                delay = max(0.0, self.free_at - self.now)
                self.delays.append(delay)
                self.intake.look(delay, self.rtt_s)
                next_ping += 0.1
            self.now += TICK_S
        return (self.arrived - before) / seconds, max(self.delays)

    def _ask(self) -> None:
        size = self.intake.piece
        while not self.intake.is_used or self.intake.fits(size):
            self.intake.acquire(size)
            began = max(self.now + self.rtt_s, self.free_at + self.rtt_s)
            self.free_at = began - self.rtt_s + size / self.rate
            heapq.heappush(self.coming, (self.free_at + self.rtt_s, size))

    def _take(self) -> None:
        while self.coming and self.coming[0][0] <= self.now:
            _, size = heapq.heappop(self.coming)
            self.arrived += size
            self.intake.release(size)


@pytest.mark.parametrize("rtt_s", [0.05, 0.15, 0.25])
@pytest.mark.parametrize("rate", [2e6, 10e6, 25e6])
def test_a_slow_link_is_full_and_its_queue_is_short(rtt_s: float, rate: float) -> None:
    link = Link(rtt_s, rate)
    link.run(4)
    speed, longest = link.run(6)
    assert speed > 0.92 * rate
    assert longest < 0.1


@pytest.mark.parametrize(("rtt_s", "least"), [(0.05, 110e6), (0.2, 80e6)])
def test_a_fast_link_is_used_soon(rtt_s: float, least: float) -> None:
    link = Link(rtt_s, 400e6)
    link.run(12 * rtt_s + 0.3)
    speed, _ = link.run(2)
    assert speed > least


def test_it_follows_a_link_that_becomes_slow_and_fast_again() -> None:
    link = Link(0.1, 20e6)
    link.run(4)
    link.rate = 2e6
    link.run(6)
    speed, longest = link.run(4)
    assert speed > 1.8e6
    assert longest < 0.15
    link.rate = 20e6
    link.run(6)
    assert link.run(2)[0] > 17e6


def test_others_on_the_link_are_given_way() -> None:
    link = Link(0.05, 10e6)
    link.run(4)
    before = link.intake.size
    for _ in range(12):
        link.intake.look(0.3, 0.05)
    assert FLOOR <= link.intake.size < before / 2


def test_who_waits_is_woken_by_the_end() -> None:
    intake = Intake()
    intake.close()
    with pytest.raises(LinkLost):
        intake.acquire(1)
