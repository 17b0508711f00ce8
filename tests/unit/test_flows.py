"""How much forwarded connections may have on their way, by what moves and what pings
see. Times are given; nothing waits."""

from __future__ import annotations

import pytest

from colab_devsync.engine.traffic.flows import FIRST, OPENING, Flows, Share

MIB = 1 << 20
RTT_S = 0.05
FLOOR = 32 << 10


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def share(clock: Clock) -> Share:
    share = Share(floor=FLOOR, least=2 * FLOOR, clock=clock)
    share.look(0.0, RTT_S)
    return share


def carry(share: Share, clock: Clock, rate: float, seconds: float, *who: str) -> None:
    """What the window admits, `rate` bytes/s at most, over all of `who`."""
    for _ in range(round(seconds / 0.01)):
        clock.now += 0.01
        most = min(rate, share.size / RTT_S)
        for one in who or ("one",):
            share.moved(one, int(most * 0.01 / max(1, len(who))))


def test_a_fast_link_is_filled_within_a_second(share: Share, clock: Clock) -> None:
    carry(share, clock, 200e6, 1.0)
    assert share.size > 200e6 * RTT_S


def test_a_trickle_makes_no_room_for_a_flood(share: Share, clock: Clock) -> None:
    carry(share, clock, 100e3, 60.0)
    assert share.size < 2 * FIRST


def test_a_slow_link_shows_itself_with_the_first_late_ping(
    share: Share, clock: Clock
) -> None:
    carry(share, clock, 2e6, 0.4)
    share.look(0.3, RTT_S)
    assert share.size < 2e6 * 0.15


def test_it_shrinks_while_pings_are_late_and_never_starves(
    share: Share, clock: Clock
) -> None:
    for _ in range(100):
        carry(share, clock, 50e3, 0.1)
        share.look(1.0, RTT_S)
    assert share.size == 2 * FLOOR
    assert share.each >= FLOOR


def test_it_grows_again_when_the_queue_is_gone(share: Share, clock: Clock) -> None:
    carry(share, clock, 2e6, 0.4)
    for _ in range(10):
        carry(share, clock, 2e6, 0.1)
        share.look(0.5, RTT_S)
    small = share.size
    for _ in range(20):
        carry(share, clock, 100e6, 0.1)
        share.look(0.0, RTT_S)
    assert share.size > 2 * small


def test_connections_that_move_share_it_and_those_at_rest_do_not(
    share: Share, clock: Clock
) -> None:
    carry(share, clock, 50e6, 0.5, "one", "two", "three", "four")
    assert share.each == pytest.approx(share.size / 4, rel=0.01)
    carry(share, clock, 50e6, 1.0, "one")
    assert share.each == share.size
    share.moved("two", 100)
    assert share.each == share.size // 2
    share.left("two")
    assert share.each == share.size


def test_it_is_used_only_while_enough_moves(share: Share, clock: Clock) -> None:
    assert not share.is_used
    carry(share, clock, 10e3, 2.0)
    assert not share.is_used
    carry(share, clock, 1e6, 0.5)
    assert share.is_used
    clock.now += 1.0
    assert not share.is_used


def test_the_pinger_hears_of_it_once(clock: Clock) -> None:
    flows, told = Flows(clock), []
    flows.tell_busy(lambda: told.append(clock.now))
    carry(flows.down, clock, 5e6, 1.0)
    assert len(told) == 1
    assert flows.is_used


def test_a_new_connection_opens_small_and_grows_with_what_it_takes(
    clock: Clock,
) -> None:
    flow = Flows(clock).open()
    assert flow.on_read(0) == OPENING
    assert flow.on_read(1000) >= FIRST


def test_on_a_slow_link_many_new_connections_open_smaller(clock: Clock) -> None:
    flows = Flows(clock)
    for _ in range(50):
        carry(flows.down, clock, 1e6, 0.1)
        flows.look(1.0, RTT_S)
    assert flows.open().on_read(0) < OPENING


def test_a_server_that_acknowledges_in_large_steps_is_not_stopped(
    clock: Clock,
) -> None:
    flows = Flows(clock)
    for _ in range(50):
        carry(flows.up, clock, 1e6, 0.1)
        flows.look(1.0, RTT_S)
    flow = flows.open()
    assert flow.may_send() < MIB
    flow.on_taken(MIB)
    assert flow.may_send() >= 2 * MIB
    flow.on_taken(96 << 10)
    assert flow.may_send() < MIB


def test_a_link_whose_forwards_move_is_not_dead(clock: Clock) -> None:
    flows = Flows(clock)
    assert flows.patience_s() == 0
    flows.open().on_taken(100)
    assert flows.patience_s() > 5
    clock.now += 3
    assert flows.patience_s() == 0
