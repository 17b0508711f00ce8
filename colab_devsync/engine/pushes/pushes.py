"""The pushes of a session: one at a time, each on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future

from ...core.events import OnProgress, Problem
from ...core.pushing import PushResult, PushSpec
from ..access import Access
from ..link_watch import LinkWatch
from ..reach import Reach
from .order import Order
from .push import Push
from .restore import Restore

_LOOK_S = 0.2


class Pushes:
    def __init__(self, access: Access, reach: Reach, restore: Restore) -> None:
        self._restore = restore
        self._access = access
        self._reach = reach
        self._watch = LinkWatch()
        self._turn = threading.Lock()  # two at once would write the same files
        self._running = 0

    @property
    def is_any_running(self) -> bool:
        return self._running > 0

    def start(
        self,
        spec: PushSpec,
        *,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
    ) -> Future[PushResult]:
        """Connects if needed, and goes on whenever the link is back. PushError,
        LinkError, AgentError; CancelledError by `cancel`, which leaves what arrived."""
        order = Order(spec, progress or (lambda _: None), cancel or threading.Event())

        def push() -> PushResult:
            return Push(order, self._access, self._watch).run()

        return self._begin(push, order.cancel)

    def restore(
        self,
        name: str | None = None,
        *,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
    ) -> Future[PushResult]:
        """The newest pulled files go back to where they came from, those of one pull
        rule or of all. ConfigError, and as `start`."""
        stop = cancel or threading.Event()
        tell = progress or (lambda _: None)

        def push() -> PushResult:
            return self._restore.run(self._access, self._watch, name, tell, stop)

        return self._begin(push, stop)

    @property
    def offer(self) -> Problem | None:
        """That pulled files could be put on this new VM."""
        return self._restore.offer

    def _begin(
        self, push: Callable[[], PushResult], cancel: threading.Event
    ) -> Future[PushResult]:
        future: Future[PushResult] = Future()

        def run() -> None:
            try:
                result = self._run(push, cancel)
            except BaseException as exc:  # noqa: BLE001 - the caller gets it
                future.set_exception(exc)
            else:
                future.set_result(result)

        threading.Thread(target=run, name="devsync-push", daemon=True).start()
        return future

    def _run(
        self, push: Callable[[], PushResult], cancel: threading.Event
    ) -> PushResult:
        while not self._turn.acquire(timeout=_LOOK_S):
            if cancel.is_set() or self._watch.is_closed:
                raise CancelledError
        self._running += 1
        try:
            return push()
        finally:
            self._running -= 1
            self._turn.release()

    def look(self) -> None:
        """After every batch of steps: is there another uplink?"""
        if self._watch.tell(self._reach.uplink, self._reach.is_wanted):
            self._restore.look(self._reach)

    def close(self) -> None:
        """Ends them; what has arrived stays."""
        self._watch.close()
