"""Tells the world how a session is: at once what matters, mere numbers now and then.

On the engine thread; `status` may be read from any.
"""

from __future__ import annotations

import time

from ..core.events import Emit, Problem, ProblemsChanged, Status, StatusChanged
from .loop import EngineLoop

_NUMBERS_S = 0.1  # between two messages that differ only in numbers
_RTT_S = 2.0  # between two that differ only in the round trip


class Teller:
    def __init__(self, emit: Emit, loop: EngineLoop, first: Status) -> None:
        self._emit = emit
        self._loop = loop
        self._told = first
        self._told_at = 0.0
        self._is_due = False
        self._problems: tuple[Problem, ...] = ()
        self.status = first

    def tell(self, status: Status) -> None:
        """Emits what is new in `status`, now or soon."""
        self.status = status
        if status.problems != self._problems:
            self._problems = status.problems
            self._emit(ProblemsChanged(status.problems))
        if status == self._told:
            return
        wait = self._told_at + self._pause(status) - time.monotonic()
        if wait <= 0:
            self._told, self._told_at = status, time.monotonic()
            self._emit(StatusChanged(status))
        elif not self._is_due:
            self._is_due = True
            self._loop.after(wait, self._come_due)

    def _pause(self, status: Status) -> float:
        told = self._told
        news = (status.link, status.conflicts, status.message, status.target)
        if news != (told.link, told.conflicts, told.message, told.target):
            return 0.0
        if (status.pending, status.files, status.vm) == (
            told.pending,
            told.files,
            told.vm,
        ):
            return _RTT_S
        return _NUMBERS_S

    def _come_due(self) -> None:
        """The loop tells again after this step."""
        self._is_due = False
