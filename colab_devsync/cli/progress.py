"""A progress bar on stderr: files, bytes, rate, time left. Only on a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .settings import Settings

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bar:
    """Shows the notifications of one job."""

    def __init__(self, settings: Settings) -> None:
        self._wanted = sys.stderr.isatty() and not settings.json
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def notified(self, method: str, params: Any) -> None:
        if method == "window/showMessage" or not self._wanted:
            return
        if method == "colabDevsync/job" and params["state"] == "progress":
            self._update(params)

    def _update(self, params: dict[str, Any]) -> None:
        total = params["bytesTotal"] or None
        files = f"{params['files']}/{params['filesTotal'] or '?'} files"
        bar = self._bar or self._start()
        if self._task is None:
            self._task = bar.add_task(params["message"], total=total, files=files)
        bar.update(
            self._task,
            description=params["message"],
            completed=params["bytes"],
            total=total,
            files=files,
        )

    def _start(self) -> Progress:
        from rich import progress  # 100 ms, which only a bar is worth
        from rich.console import Console

        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.TextColumn("{task.fields[files]}"),
            progress.DownloadColumn(),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar.start()
        return self._bar
