"""One thread of the agent that serves frames in order."""

from __future__ import annotations

import queue
import threading
from typing import Callable

from . import wire


class Worker:
    """Started at once; `limit`: frames that may wait, 0 for any number."""

    def __init__(
        self, name: str, serve: Callable[[wire.Frame], None], limit: int = 0
    ) -> None:
        self._serve = serve
        self._queue: "queue.Queue[wire.Frame]" = queue.Queue(limit)
        self.put = self._queue.put
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                self._serve(self._queue.get())
            except OSError:
                return  # nobody reads answers any more: the agent is about to end
