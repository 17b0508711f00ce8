"""The engine thread: runs everything that touches a session's state, one at a time.

`post` from any thread; `after` and `cancel` from the engine thread. A step that
raises is logged and reported, never fatal.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_log = logging.getLogger(__name__)

T = TypeVar("T")
Step = Callable[[], None]


class Timer:
    """A step that is due later; `cancel` makes it never run."""

    __slots__ = ("is_cancelled", "step")

    def __init__(self, step: Step) -> None:
        self.step = step
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class EngineLoop:
    """`after_batch` runs whenever the inbox has been emptied; `on_failure` gets what
    a step raised, which is always a bug."""

    def __init__(
        self, name: str, after_batch: Step, on_failure: Callable[[Exception], None]
    ) -> None:
        self._inbox: queue.SimpleQueue[Step | None] = queue.SimpleQueue()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._after_batch = after_batch
        self._on_failure = on_failure
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def post(self, step: Step) -> None:
        """Queues a step."""
        self._inbox.put(step)

    def submit(self, work: Callable[[Future[T]], None]) -> Future[T]:
        """Runs `work` on the engine thread; it resolves the future now or later."""
        future: Future[T] = Future()

        def step() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                work(future)
            except BaseException as exc:  # noqa: BLE001 - the caller gets it
                if not future.done():
                    future.set_exception(exc)

        self.post(step)
        return future

    def after(self, seconds: float, step: Step) -> Timer:
        """Runs `step` on the engine thread in `seconds`."""
        timer = Timer(step)
        heapq.heappush(
            self._timers, (time.monotonic() + seconds, next(self._order), timer)
        )
        return timer

    def stop(self, timeout_s: float) -> None:
        """Ends after the steps that are queued; waits that long at most."""
        self._inbox.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            batch = self._take()
            for step in batch:
                if step is None:
                    return
                self._do(step)
            self._do_due()
            self._do(self._after_batch)

    def _take(self) -> list[Step | None]:
        """All that is queued; waits for the first until a timer is due."""
        pause = self._timers[0][0] - time.monotonic() if self._timers else None
        try:
            batch = [
                self._inbox.get(timeout=max(0.0, pause) if pause is not None else None)
            ]
        except queue.Empty:
            return []
        while not self._inbox.empty():
            batch.append(self._inbox.get())
        return batch

    def _do_due(self) -> None:
        while self._timers and self._timers[0][0] <= time.monotonic():
            _, _, timer = heapq.heappop(self._timers)
            if not timer.is_cancelled:
                self._do(timer.step)

    def _do(self, step: Step) -> None:
        try:
            step()
        except Exception as exc:  # noqa: BLE001 - logged and reported
            _log.exception("an engine step failed")
            self._on_failure(exc)
