"""Standard `$/progress` for one job: create, begin, report, end.

Lives on the loop. A client that does not offer `window.workDoneProgress`, or refuses
the token, sees nothing; the job runs all the same.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lsprotocol import types
from pygls.exceptions import JsonRpcException

if TYPE_CHECKING:
    from .server import DevsyncServer


class WorkDone:
    """The progress bar of one job; `token` is what a cancel names."""

    def __init__(self, ls: DevsyncServer, token: str, title: str) -> None:
        self.token = token
        self._ls = ls
        self._title = title
        self._shown = False
        self._ended = False
        self._latest: tuple[str | None, int | None] = (None, None)
        window = ls.client_capabilities.window
        if window is not None and window.work_done_progress:
            ls.spawn(self._create())

    async def _create(self) -> None:
        params = types.WorkDoneProgressCreateParams(token=self.token)
        try:
            await self._ls.window_work_done_progress_create_async(params)
        except (JsonRpcException, asyncio.CancelledError):
            return
        if self._ended:
            return
        self._shown = True
        message, percent = self._latest
        self._send(
            types.WorkDoneProgressBegin(
                title=self._title,
                cancellable=True,
                message=message,
                percentage=percent,
            )
        )

    def report(self, message: str | None, percent: int | None) -> None:
        self._latest = (message, percent)
        if self._shown and not self._ended:
            value = types.WorkDoneProgressReport(
                cancellable=True, message=message, percentage=percent
            )
            self._send(value)

    def end(self, message: str) -> None:
        self._ended = True
        if self._shown:
            self._send(types.WorkDoneProgressEnd(message=message))

    def _send(
        self,
        value: types.WorkDoneProgressBegin
        | types.WorkDoneProgressReport
        | types.WorkDoneProgressEnd,
    ) -> None:
        self._ls.tell("$/progress", types.ProgressParams(token=self.token, value=value))
