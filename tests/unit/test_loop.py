"""The engine thread: order, timers, failures, the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from colab_devsync.engine.loop import EngineLoop


class Loop(EngineLoop):
    def __init__(self) -> None:
        self.batches = 0
        self.failures: list[Exception] = []
        super().__init__("devsync-engine-test", self._count, self.failures.append)

    def _count(self) -> None:
        self.batches += 1

    def run(self, work: object) -> None:
        """Runs a step and waits for it."""
        self.submit(lambda future: future.set_result(work())).result(30)  # type: ignore[operator]


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    loop.start()
    yield loop
    loop.stop(timeout_s=30)
    assert "devsync-engine-test" not in [one.name for one in threading.enumerate()]


def test_steps_run_in_order_on_one_thread(loop: Loop) -> None:
    seen: list[int] = []
    threads: set[str] = set()
    for number in range(100):
        loop.post(lambda number=number: seen.append(number))  # type: ignore[misc]
    loop.run(lambda: threads.add(threading.current_thread().name))
    assert seen == list(range(100))
    assert threads == {"devsync-engine-test"}


def test_timers_run_in_the_order_of_their_time(loop: Loop) -> None:
    seen: list[str] = []
    over = threading.Event()

    def start() -> None:
        loop.after(0.02, lambda: seen.append("second"))
        loop.after(0.01, lambda: seen.append("first"))
        loop.after(0.015, lambda: seen.append("never")).cancel()
        loop.after(0.03, over.set)

    loop.post(start)
    assert over.wait(30)
    assert seen == ["first", "second"]


def test_a_step_that_fails_is_reported_and_the_rest_goes_on(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    loop.post(lambda: [][0])
    loop.run(lambda: None)
    assert [type(one) for one in loop.failures] == [IndexError]
    assert "an engine step failed" in caplog.text


def test_submitted_work_that_fails_tells_its_caller(loop: Loop) -> None:
    with pytest.raises(ZeroDivisionError):
        loop.submit(lambda future: future.set_result(1 / 0)).result(30)
    assert loop.failures == []


def test_cancelled_work_does_not_run(loop: Loop) -> None:
    gate = threading.Event()
    seen: list[int] = []
    loop.post(lambda: gate.wait(30))
    future = loop.submit(lambda future: seen.append(1))
    assert future.cancel()
    gate.set()
    loop.run(lambda: None)
    assert seen == []


def test_after_each_batch(loop: Loop) -> None:
    loop.run(lambda: None)
    loop.run(lambda: None)
    assert loop.batches >= 1


def test_what_is_queued_before_the_end_still_runs() -> None:
    loop = Loop()
    seen: list[int] = []
    for number in range(10):
        loop.post(lambda number=number: seen.append(number))  # type: ignore[misc]
    loop.start()
    loop.stop(timeout_s=30)
    assert seen == list(range(10))


def test_it_may_stop_itself() -> None:
    loop = Loop()
    loop.start()
    stopped = threading.Event()

    def stop() -> None:
        loop.stop(timeout_s=30)
        stopped.set()

    loop.post(stop)
    assert stopped.wait(30)
    loop.stop(timeout_s=30)
