"""One `pull` that somebody waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress

from ...core.events import OnProgress, Progress
from ...core.pulls import PullResult
from ...errors import NotPulled
from .record import Pulled
from .rule import Rule

_SHOWN = 5


class PullJob:
    """The worker's, but for what says otherwise."""

    def __init__(
        self,
        future: Future[PullResult],
        names: Sequence[str],
        progress: OnProgress | None,
        cancel: threading.Event | None,
    ) -> None:
        self.names = frozenset(names)
        self.order = 0  # of the look that it waits for
        self.is_seen = False  # that look is done
        self._future = future
        self._progress = progress
        self._cancel = cancel
        self._newest = ""
        self._came = PullResult(0, 0)

    def begin(self, rules: Sequence[Rule]) -> None:
        """What came before counts, too, unless somebody has asked already."""
        files = sum(rule.came.files for rule in rules)
        self._came = PullResult(files, sum(rule.came.bytes for rule in rules))

    def note(self, pulled: Pulled) -> None:
        if pulled.rule in self.names:
            self._newest = pulled.path
            size = self._came.bytes + pulled.version.size
            self._came = PullResult(self._came.files + 1, size)

    def fail(self, error: BaseException) -> None:
        with suppress(InvalidStateError):
            self._future.set_exception(error)

    def look(self, rules: Sequence[Rule]) -> Callable[[], None] | None:
        """When it has ended, what tells that; until then, None."""
        if self._cancel is not None and self._cancel.is_set():
            return lambda: self.fail(CancelledError())
        if self._future.done():
            return lambda: None
        if not self.is_seen or not all(rule.is_known for rule in rules):
            return None
        if any(_is_coming(rule) for rule in rules):
            return None
        problems = [
            rule.failed[path].problem for rule in rules for path in rule.to_fetch()
        ]
        problems += [rule.refusal for rule in rules if rule.refusal is not None]
        if problems:
            error = _not_pulled([f"{one.path}: {one.message}" for one in problems])
            return lambda: self.fail(error)
        done = self._came
        for rule in rules:
            rule.came = PullResult(0, 0)
        return lambda: self._succeed(done)

    def _succeed(self, done: PullResult) -> None:
        with suppress(InvalidStateError):
            self._future.set_result(done)

    def report(self, rules: Sequence[Rule]) -> None:
        if self._progress is None or self._future.done():
            return
        infos = [rule.info(is_online=True) for rule in rules]
        left = sum(info.waiting_bytes for info in infos)
        came = self._came
        self._progress(
            Progress(
                message=self._newest or "looking at the VM",
                files=came.files,
                files_total=came.files + sum(info.waiting for info in infos),
                bytes=came.bytes,
                bytes_total=came.bytes + left,
            )
        )


def _is_coming(rule: Rule) -> bool:
    """Whether anything that is wanted has neither come nor failed."""
    fetch = rule.to_fetch()
    failed = sum(path in fetch and path not in rule.busy for path in rule.failed)
    return failed < len(fetch)


def _not_pulled(failed: list[str]) -> NotPulled:
    more = f" And {len(failed) - _SHOWN} more." if len(failed) > _SHOWN else ""
    return NotPulled(
        f"Not everything was pulled. {' '.join(failed[:_SHOWN])}{more}",
        "`colab-devsync status` lists them; they are tried again.",
    )
