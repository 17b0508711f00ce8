"""A flood of output leaves room for a save, whatever the link."""

from __future__ import annotations

import pytest

from colab_devsync.agent.pacing import FASTEST, FIRST, FLOOR, LIMIT, Window


class Tunnel:
    """A link of `rate` bytes/s, `rtt_s` long, whose queue is seen by who sends."""

    def __init__(self, rate: float, rtt_s: float) -> None:
        self.rate, self.rtt_s = rate, rtt_s
        self.now = self.free_at = 0.0
        self.on_way: list[tuple[float, int]] = []
        self.window = Window()
        self.delivered = 0
        self.longest_s = 0.0

    def flood(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            while size := self.window.room(self.now):
                self.window.sent(size, self.now)
                self.free_at = max(self.free_at, self.now) + size / self.rate
                self.longest_s = max(self.longest_s, self.free_at - self.now)
                self.on_way.append((self.free_at + self.rtt_s, size))
            due = self.now + self.window.pause_s(self.now)
            if self.on_way and self.on_way[0][0] <= due:
                self.now, size = self.on_way.pop(0)
                self.delivered += size
                self.window.acked(size, self.now)
            else:
                self.now = due


@pytest.mark.parametrize("rtt_s", [0.002, 0.05, 0.2])
@pytest.mark.parametrize("rate", [2e5, 1e6, 1e7, 1e8])
def test_a_flood_leaves_room_for_a_save(rate: float, rtt_s: float) -> None:
    tunnel = Tunnel(rate, rtt_s)
    tunnel.flood(10)
    assert tunnel.longest_s < max(0.1, 1.5 * FIRST / rate)
    tunnel.longest_s, tunnel.delivered = 0.0, 0
    tunnel.flood(30)
    assert tunnel.longest_s < max(0.09, 1.5 * FLOOR / rate)
    if rate * rtt_s < LIMIT:
        assert tunnel.delivered > 0.5 * 30 * min(rate, FASTEST)
