"""A progress bar on stderr: files, bytes, rate, time left. Only on a terminal."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from . import output
from .settings import Settings

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_WINDOW_S = 5.0


class Rate:
    """Bytes per second over the last five seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, now_s: float, count: int) -> None:
        self._samples.append((now_s, count))
        while now_s - self._samples[0][0] > _WINDOW_S:
            self._samples.popleft()

    def per_second(self) -> float | None:
        """None until there is something to divide."""
        (began, first), (now, last) = self._samples[0], self._samples[-1]
        if last <= first or now <= began:
            return None
        return (last - first) / (now - began)


class Bar:
    """Shows the notifications of one job."""

    def __init__(self, settings: Settings) -> None:
        self._wanted = sys.stderr.isatty() and not settings.json
        self._rate = Rate()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """For good: something else is printed from now on. Idempotent."""
        self._wanted = False
        self.pause()

    def pause(self) -> None:
        """Takes the bar away, until there is more progress to show."""
        if self._bar is not None:
            self._bar.stop()
        self._bar, self._task = None, None

    def notified(self, method: str, params: Any) -> None:
        is_progress = method == "colabDevsync/job" and params["state"] == "progress"
        if is_progress and self._wanted:
            self._update(params)

    def _update(self, params: dict[str, Any]) -> None:
        self._rate.add(time.monotonic(), params["bytes"])
        bar = self._bar or self._start()
        if self._task is None:
            self._task = bar.add_task("", total=None, numbers="")
        bar.update(
            self._task,
            description=params["message"],
            completed=params["bytes"],
            total=params["bytesTotal"] or None,
            numbers=_numbers(params, self._rate.per_second()),
        )

    def _start(self) -> Progress:
        from rich import progress  # 100 ms, which only a bar is worth
        from rich.console import Console

        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            # Our own numbers: rich forgets its rate whenever the total grows.
            progress.TextColumn("{task.fields[numbers]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar.start()
        return self._bar


def _numbers(params: dict[str, Any], rate: float | None) -> str:
    if not params["filesTotal"]:
        return ""
    done, total = params["bytes"], params["bytesTotal"]
    parts = [
        f"{params['files']}/{params['filesTotal']} files",
        f"{output.size(done)} of {output.size(total)}",
    ]
    if rate is not None:
        parts += [f"{output.size(rate)}/s", f"{output.age((total - done) / rate)} left"]
    return ", ".join(parts)
