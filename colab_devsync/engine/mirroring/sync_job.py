"""A `sync` somebody waits for: from the survey to the last acknowledgement.

Values and bookkeeping on the engine thread; the session drives it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field, replace

from ...core.events import OnProgress, Problem, Progress, SyncResult
from ...errors import DevsyncError, NotFlushed, UnsafePlan
from ..loop import EngineLoop
from ..reach import Reach
from .dispatch import Tally
from .mirror import Mirror
from .survey import Findings
from .surveyor import Surveyor

_PROGRESS_S = 0.1
_CANCEL_LOOK_S = 0.1
_AFTER_CHECK_S = 1.0  # a session that lives on goes on mirroring


@dataclass(eq=False)
class SyncJob:
    future: Future[SyncResult]
    check: bool = False
    progress: OnProgress | None = None
    cancel: threading.Event | None = None
    started: float = field(default_factory=time.monotonic)
    is_trusting: bool = False  # the VM is not asked what it holds
    before: Tally = field(default_factory=Tally)
    surveyed: bool = False
    attempt: int = 0  # answers to an earlier one are ignored
    _told: float = 0.0

    @property
    def is_checking(self) -> bool:
        """Whether it waits for a survey that must not change anything."""
        return self.check and not self.future.done()

    def start(self, mirror: Mirror) -> None:
        """Online; what arrives from now on counts."""
        self.before = replace(mirror.total)
        mirror.dispatch.begin_wave()

    def note_survey(self, mirror: Mirror, found: Findings) -> None:
        """What the survey found is with the mirror now."""
        self.surveyed = True
        if self.check and not self.future.done():
            self.compare(mirror, found)

    def advance(self, mirror: Mirror) -> None:
        """After each batch of steps: cancelled, over, or how far?"""
        if self.future.done():
            return
        if self.cancel is not None and self.cancel.is_set():
            self.future.set_exception(CancelledError())
        elif self.surveyed and mirror.is_at_rest():
            self.finish(mirror)
        else:
            self.report(mirror)

    def fail(self, error: DevsyncError) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def report(self, mirror: Mirror) -> None:
        """Tells how far the mirror is, ten times a second at most."""
        now = time.monotonic()
        if now - self._told >= _PROGRESS_S:
            self._told = now
            self._report(mirror)

    def _report(self, mirror: Mirror) -> None:
        if self.progress is None:
            return
        wave = mirror.dispatch.wave
        self.progress(
            Progress(
                "mirroring" if self.surveyed else "comparing",
                wave.files,
                wave.files_total,
                wave.bytes,
                wave.bytes_total,
            )
        )

    def _report_end(self, files: int, size: int) -> None:
        """However quick it was, who draws a bar sees it full."""
        if self.progress is not None and files:
            self.progress(Progress("mirrored", files, files, size, size))

    def compare(self, mirror: Mirror, found: Findings) -> None:
        """The answer of `sync --check`."""
        changed = [path for path in found.changed if mirror.would_send(path)]
        gone = mirror.deletions.preview(found)
        differing = sorted({*changed, *found.missing, *found.remote, *found.extra})
        result = SyncResult(
            files=len(changed),
            bytes=0,
            deleted=len(gone),
            conflicts=len(mirror.conflicts),
            seconds=time.monotonic() - self.started,
            paths=tuple(differing),
            deletions=tuple(sorted(gone)),
        )
        self.future.set_result(result)

    def finish(self, mirror: Mirror) -> None:
        """The mirror is at rest: the result, or what stands in the way."""
        error = _obstacle(mirror)
        if error is not None:
            self.fail(error)
            return
        self._report(mirror)  # that it is complete
        total = mirror.total
        self._report_end(
            total.files - self.before.files, total.bytes - self.before.bytes
        )
        result = SyncResult(
            files=total.files - self.before.files,
            bytes=total.wire - self.before.wire,
            deleted=total.deleted - self.before.deleted,
            conflicts=len(mirror.conflicts),
            seconds=time.monotonic() - self.started,
        )
        self.future.set_result(result)


class Syncs:
    """The syncs that somebody waits for, and who else waits for rest."""

    def __init__(self, loop: EngineLoop) -> None:
        self._loop = loop
        self._jobs: list[SyncJob] = []
        self._at_rest: list[Callable[[], None]] = []

    @property
    def is_checking(self) -> bool:
        """Whether one of them only looks."""
        return any(job.is_checking for job in self._jobs)

    def begin(
        self,
        job: SyncJob,
        reach: Reach,
        surveyor: Surveyor,
        open_mirror: Callable[[], Mirror],
    ) -> None:
        """Online first, then a survey, then rest."""
        job.attempt += 1
        attempt = job.attempt

        def online(error: DevsyncError | None) -> None:
            if job.attempt != attempt:
                return
            if error is not None:
                job.fail(error)
                return
            mirror = open_mirror()
            job.start(mirror)
            mirror.retry()
            surveyor.start(surveyed, since=job.started, is_local=job.is_trusting)

        def surveyed(found: Findings) -> None:
            if job.attempt != attempt:
                return
            if found.is_cut and reach.is_wanted:
                self.begin(job, reach, surveyor, open_mirror)  # went down meanwhile
            elif found.failure is not None:
                job.fail(found.failure)
            else:
                job.note_survey(open_mirror(), found)
                if job.check:  # what it held back is found once more
                    self._loop.after(_AFTER_CHECK_S, surveyor.start)

        if job not in self._jobs:
            self._jobs.append(job)
        reach.when_online(online)

    def take(self) -> list[SyncJob]:
        """Takes all out, to begin them anew."""
        jobs, self._jobs = self._jobs, []
        for job in jobs:
            job.attempt += 1
            job.surveyed = False
        return jobs

    def advance(self, mirror: Mirror, is_surveying: bool) -> None:
        """After every batch of steps."""
        for job in self._jobs:
            job.advance(mirror)
        self._jobs = [job for job in self._jobs if not job.future.done()]
        if any(job.cancel for job in self._jobs):
            self._loop.after(_CANCEL_LOOK_S, lambda: None)  # looks at them again
        if self._at_rest and mirror.is_at_rest() and not is_surveying:
            waiting, self._at_rest = self._at_rest, []
            for then in waiting:
                then()

    def when_at_rest(self, then: Callable[[], None], limit_s: float) -> None:
        """Runs `then` when nothing is on its way any more, or after `limit_s`."""
        waiting = [then]

        def once() -> None:
            if waiting:
                waiting.pop()()

        self._at_rest.append(once)
        self._loop.after(limit_s, once)

    def fail(self, error: DevsyncError) -> None:
        for job in self._jobs:
            job.fail(error)


def _obstacle(mirror: Mirror) -> DevsyncError | None:
    halted = mirror.deletions.halted
    if halted is not None:
        return UnsafePlan(halted.message, halted.hint)
    failed = [
        problem for problem in mirror.problems.values() if problem.severity == "error"
    ]
    if failed:
        return NotFlushed(_listing(failed), failed[0].hint)
    return None


def _listing(problems: list[Problem]) -> str:
    shown = "; ".join(problem.message for problem in problems[:5])
    more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
    files = "1 file" if len(problems) == 1 else f"{len(problems)} files"
    return f"{files} could not be brought to the VM: {shown}{more}"
