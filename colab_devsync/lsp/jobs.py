"""Long commands: answered at once with a job, reported by notifications.

Lives on the loop; only `Job.report` may be called from other threads. Jobs belong to
one client and are cancelled when it leaves.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ..core.events import Progress
from ..errors import DevsyncError
from . import protocol
from .bridge import post
from .progress import WorkDone
from .protocol import JobBody, Started

if TYPE_CHECKING:
    from .folders import Folders
    from .server import DevsyncServer

_REPORT_EVERY_S = 0.1
_KEPT = 100  # finished jobs whose result can still be asked for

Operation = Callable[["Job"], Awaitable[dict[str, Any]]]


class Job:
    """One long command."""

    def __init__(self, ls: DevsyncServer, name: str, command: str, title: str) -> None:
        self.id = name
        self.command = command
        self.title = title
        self.cancel = threading.Event()
        """Set when the job shall stop; the engine looks at it."""
        self.finished: asyncio.Future[JobBody] = ls.loop.create_future()
        self.task: asyncio.Task[None] | None = None
        self._ls = ls
        self._latest: Progress | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._progress = WorkDone(ls, f"colab-devsync/{name}", title)

    @property
    def client(self) -> Folders:
        """Who started it, as the hub knows it; it may have left."""
        return self._ls.folders

    @property
    def token(self) -> str:
        return self._progress.token

    def report(self, progress: Progress) -> None:
        """From any thread, as often as it likes: at most ten a second are sent."""
        self._latest = progress
        if self._timer is None:
            post(self._ls.loop, self._schedule)

    def say(self, message: str) -> None:
        self.report(Progress(message))

    def finish(self, body: JobBody, summary: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._send_latest()  # the last one is the full bar
        self._progress.end(summary)
        self._ls.tell(protocol.JOB, body)
        self.finished.set_result(body)

    def _schedule(self) -> None:
        if self._timer is None and not self.finished.done():
            self._send_latest()
            self._timer = self._ls.loop.call_later(_REPORT_EVERY_S, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._latest is not None and not self.finished.done():
            self._schedule()

    def _send_latest(self) -> None:
        latest, self._latest = self._latest, None
        if latest is None:
            return
        body = JobBody(
            job=self.id,
            command=self.command,
            state="progress",
            message=latest.message,
            files=latest.files,
            filesTotal=latest.files_total,
            bytes=latest.bytes,
            bytesTotal=latest.bytes_total,
        )
        if latest.percent is not None:
            body["percent"] = latest.percent
        self._ls.tell(protocol.JOB, body)
        self._progress.report(latest.message, latest.percent)


class Jobs:
    """The jobs of one client."""

    def __init__(self, ls: DevsyncServer) -> None:
        self._ls = ls
        self._count = 0
        self._jobs: dict[str, Job] = {}

    def start(self, command: str, title: str, operation: Operation) -> Started:
        """`operation` starts after this call's answer has been sent."""
        self._count += 1
        job = Job(
            self._ls, f"{command.partition('.')[2]}-{self._count}", command, title
        )
        self._jobs[job.id] = job
        self._drop_old()
        job.task = self._ls.spawn(self._run(job, operation))
        job.task.add_done_callback(lambda _: self._cancelled_early(job))
        return Started(job=job.id, state="started")

    def get(self, name: str) -> Job:
        job = self._jobs.get(name)
        if job is None:
            raise DevsyncError(
                f"There is no job {name!r} on this connection.",
                "A job belongs to the client that started it.",
            )
        return job

    def cancel(self, name: str) -> bool:
        """False if it has ended already."""
        job = self.get(name)
        if job.task is None or job.finished.done():
            return False
        job.cancel.set()
        job.task.cancel()
        return True

    def cancel_token(self, token: int | str) -> None:
        """`window/workDoneProgress/cancel`; other tokens are somebody else's."""
        for job in tuple(self._jobs.values()):
            if job.token == token:
                self.cancel(job.id)

    async def cancel_all(self) -> None:
        running = [job for job in self._jobs.values() if not job.finished.done()]
        for job in running:
            self.cancel(job.id)
        if running:
            await asyncio.wait([job.finished for job in running], timeout=5)

    async def _run(self, job: Job, operation: Operation) -> None:
        try:
            result = await operation(job)
        except asyncio.CancelledError:
            self._end(job, "cancelled", "cancelled")
        except Exception as error:  # noqa: BLE001 - error_body logs the unexpected
            body = protocol.error_body(error, verbose=self._ls.options.verbose)
            self._end(job, "failed", body["message"], error=body)
            if not self._ls.options.is_cli:
                self._ls.complain(body)
        else:
            self._end(job, "done", "done", result=result)

    def _cancelled_early(self, job: Job) -> None:
        # A task that is cancelled before its first step never runs at all.
        if not job.finished.done():
            self._end(job, "cancelled", "cancelled")

    def _end(self, job: Job, state: Any, summary: str, **more: Any) -> None:
        body = JobBody(job=job.id, command=job.command, state=state)
        body.update(more)  # type: ignore[typeddict-item]  # result or error
        job.finish(body, summary)

    def _drop_old(self) -> None:
        done = [name for name, job in self._jobs.items() if job.finished.done()]
        for name in done[:-_KEPT]:
            del self._jobs[name]
