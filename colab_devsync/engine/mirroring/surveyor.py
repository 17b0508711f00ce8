"""Orders surveys: one at a time, now and then by itself. On the engine thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from ..loop import EngineLoop, Timer
from . import survey
from .survey import Brief, Changed, Findings

_AUDIT_S = 300.0
_BLIND_AUDIT_S = 10.0  # without a watcher

Then = Callable[[Findings], None]


class Surveyor:
    """`brief` describes the present, for the local half only or all of it; `apply`
    takes over what was found, `apply_early` a part while the survey goes on."""

    def __init__(
        self,
        loop: EngineLoop,
        brief: Callable[[bool], Brief],
        apply: Callable[[Findings], None],
        apply_early: Callable[[Changed], None],
    ) -> None:
        self._loop = loop
        self._brief = brief
        self._apply = apply
        self._apply_early = apply_early
        self._running: list[Then] | None = None
        self._began = 0.0
        self._is_local = False  # the one that runs, or was the last
        self._next: list[Then] = []
        self._is_next_local = True
        self._audit: Timer | None = None
        self._last: Findings | None = None  # of a survey that succeeded, without lists
        self.is_blind = False

    @property
    def is_at_work(self) -> bool:
        return self._running is not None

    def start(
        self,
        then: Then | None = None,
        since: float | None = None,
        is_local: bool = False,
    ) -> None:
        """Compares everything as it is at `since` (monotonic; None = now) or later,
        then runs `then`. A survey that began before gets a successor, because it may
        have passed already; one that began later, and is over, will do. With
        `is_local`, what the VM holds is taken for what we believe."""
        then = then or _nothing
        is_enough = is_local or not self._is_local
        fits = since is not None and since <= self._began and is_enough
        if self._running is None and self._last is not None and fits:
            then(self._last)
        elif self._running is None:
            self._begin(then, is_local)
        elif fits:
            self._running.append(then)
        else:
            self._next.append(then)
            self._is_next_local &= is_local

    def _begin(self, then: Then, is_local: bool) -> None:
        self._running, self._last = [then], None
        self._is_local = is_local
        self._began = time.monotonic()
        self.stop_audits()
        survey.start(
            self._brief(is_local),
            lambda changed: self._loop.post(partial(self._apply_early, changed)),
            lambda found: self._loop.post(partial(self._ended, found)),
        )

    def _ended(self, found: Findings) -> None:
        waiting, self._running = self._running or [], None
        if found.failure is None:
            self._last = Findings(found.rules, {})
        self._apply(found)
        for then in waiting:
            then(found)
        if self._next:
            after, self._next = self._next, []
            is_local, self._is_next_local = self._is_next_local, True
            self.start(partial(_tell_all, after), is_local=is_local)
        else:
            pause = _BLIND_AUDIT_S if self.is_blind else _AUDIT_S
            self._audit = self._loop.after(pause, self.start)

    def stop_audits(self) -> None:
        if self._audit is not None:
            self._audit.cancel()
            self._audit = None


def _tell_all(waiting: list[Then], found: Findings) -> None:
    for then in waiting:
        then(found)


def _nothing(found: Findings) -> None:
    """Nobody waits."""
