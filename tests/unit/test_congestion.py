"""How the bulk window follows the queue that the pings see."""

from __future__ import annotations

import threading

import pytest

from colab_devsync.engine.traffic.congestion import (
    FIRST,
    FLOOR,
    LIMIT,
    TARGET_S,
    Pace,
    Window,
)
from colab_devsync.errors import LinkLost

MIB = 1 << 20
RTT_S = 0.05


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("late_s", "times"), [(0.0, 6), (0.01, 3), (0.02, 2), (0.04, 1)]
)
def test_it_starts_small_and_grows_by_what_arrives_in_time(
    late_s: float, times: int
) -> None:
    window = Window(first=MIB, limit=16 * MIB)
    window.look(0.0, RTT_S)
    for _ in range(6):
        size = window.size
        window.acquire(size)
        window.release(size, RTT_S + late_s)
        assert window.size == pytest.approx(min(times * size, 16 * MIB))


def test_the_first_window_is_no_burden_for_a_slow_link() -> None:
    """Two megabytes a second: what is sent before anything is known takes 0.1 s."""
    assert FIRST / 2e6 < 0.1
    window = Window()
    window.look(0.0, RTT_S)
    for number in range(1, 7):  # all at once: each frame waits for those before it
        window.acquire(window.frame)
        window.release(window.frame, RTT_S + number * window.frame / 2e6)
    assert window.size < FIRST * 1.5


def test_one_high_ping_changes_nothing_but_three_do() -> None:
    window = Window(first=8 * MIB)
    window.acquire(4 * MIB)
    for delay_s in (0.1, 0.0, 0.1, 0.1):
        window.look(delay_s, RTT_S)
    assert window.size == 8 * MIB
    window.look(0.1, RTT_S)
    assert 4 * MIB <= window.size < 6 * MIB


def test_a_long_queue_ends_the_doubling_at_once() -> None:
    window = Window(first=8 * MIB)
    window.acquire(4 * MIB)
    window.look(0.5, RTT_S)
    window.release(4 * MIB)
    assert window.size == 8 * MIB


def test_it_never_starves() -> None:
    pace = Pace(LIMIT)
    for _ in range(50):
        pace = pace.looked(5.0, RTT_S, rate=0.0, used=pace.size)
    assert pace.size == FLOOR


def test_it_shrinks_to_what_the_link_carries_and_no_further() -> None:
    rate, room_s = 20e6, RTT_S + TARGET_S / 2
    pace = Pace(LIMIT)
    for _ in range(8):
        pace = pace.looked(1.0, room_s, rate, used=pace.size)
    assert FLOOR < pace.size <= rate * room_s
    assert pace.size > rate * room_s / 2


def test_it_grows_again_only_while_it_is_used_up() -> None:
    pace = Pace(MIB, is_fast=False)
    assert pace.looked(0.0, RTT_S, 1e6, used=MIB).size > MIB
    assert pace.looked(0.0, RTT_S, 1e6, used=MIB // 2) is pace
    assert pace.looked(TARGET_S * 0.8, RTT_S, 1e6, used=MIB) is pace


def test_patience_is_what_stands_before_an_answer() -> None:
    clock = Clock()
    window = Window(first=4 * MIB, clock=clock)
    window.acquire(2_000_000)
    assert window.patience_s() == pytest.approx(4.0)  # nothing known: a slow link
    for _ in range(5):
        window.acquire(100_000)
        window.release(100_000)
        clock.now += 0.01
    window.acquire(100_000)
    assert window.patience_s() == pytest.approx(4.2, rel=0.01)
    for _ in range(20):
        window.acquire(1_000_000)
        window.release(1_000_000)
    assert window.patience_s() < 0.2


def test_frames_are_small_on_a_slow_link_and_waiting_ends_with_the_link() -> None:
    window = Window(first=FLOOR)
    assert window.frame == 32 << 10
    window.acquire(10 * FLOOR)  # alone, it passes
    failures: list[BaseException] = []

    def wait() -> None:
        try:
            window.acquire(1)
        except LinkLost as exc:
            failures.append(exc)

    waiter = threading.Thread(target=wait, name="devsync-test-wait", daemon=True)
    waiter.start()
    window.close()
    waiter.join(30)
    assert len(failures) == 1
