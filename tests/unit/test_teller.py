"""What is told at once, and what is told now and then."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from colab_devsync.core.events import (
    Event,
    Problem,
    ProblemsChanged,
    Status,
    StatusChanged,
)
from colab_devsync.engine.loop import EngineLoop
from colab_devsync.engine.teller import Teller

FIRST = Status("/p", "p", link="online")


class World:
    """A teller on its loop; `now` is told after every step, as a session does."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.now = FIRST
        self.told = threading.Condition()
        self.loop = EngineLoop("devsync-engine-teller", self._tell, self._fail)
        self.teller = Teller(self._emit, self.loop, FIRST)
        self.loop.start()

    def _fail(self, exc: Exception) -> None:
        raise AssertionError(exc)

    def _emit(self, event: Event) -> None:
        with self.told:
            self.events.append(event)
            self.told.notify_all()

    def _tell(self) -> None:
        self.teller.tell(self.now)

    def set(self, **changes: object) -> None:
        self.now = replace(self.now, **changes)  # type: ignore[arg-type]
        self.loop.submit(lambda future: future.set_result(None)).result(30)

    def wait_last(self, status: Status) -> None:
        with self.told:
            assert self.told.wait_for(
                lambda: bool(self.events) and self.events[-1] == StatusChanged(status),
                30,
            ), self.events


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.loop.stop(timeout_s=30)


def test_what_did_not_change_is_not_told(world: World) -> None:
    world.set()
    world.set(name="p")
    assert world.events == []


def test_a_link_that_changed_is_told_at_once(world: World) -> None:
    for link in ("lost", "connecting", "online"):
        world.set(link=link)
        world.wait_last(world.now)
    assert len(world.events) == 3


def test_numbers_are_told_now_and_then_but_the_last_one_surely(world: World) -> None:
    for pending in range(200, -1, -1):
        world.set(pending=pending)
    world.wait_last(world.now)
    assert len(world.events) < 100
    assert world.teller.status.pending == 0


def test_problems_are_told_at_once_and_once(world: World) -> None:
    problem = Problem("a", "m")
    world.set(problems=(problem,))
    world.set()
    told = [one for one in world.events if isinstance(one, ProblemsChanged)]
    assert told == [ProblemsChanged((problem,))]
    world.set(problems=())
    assert ProblemsChanged(()) in world.events
