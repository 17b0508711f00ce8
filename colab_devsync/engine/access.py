"""The VM, for threads that are not the engine's: runs, forwards, debuggers.

They may block. Nothing here holds state; it asks the engine thread for the uplink.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError

from ..core.config import Config
from ..errors import DevsyncError, LinkLost
from .loop import EngineLoop
from .reach import Reach
from .uplink import Uplink


class Access:
    """Any thread but the engine's."""

    def __init__(self, loop: EngineLoop, reach: Reach) -> None:
        self._loop = loop
        self._reach = reach

    @property
    def current(self) -> Uplink | None:
        """The uplink of this moment; it may be dead already."""
        return self._reach.uplink

    @property
    def config(self) -> Config:
        """After the first connect; read anew when the file changes."""
        assert self._reach.config is not None
        return self._reach.config

    def uplink(self, timeout_s: float) -> Uplink:
        """Connects if needed, or waits for the link to come back. LinkError,
        AgentError, ConfigError; LinkLost when it takes longer."""

        def work(future: Future[Uplink]) -> None:
            def then(error: DevsyncError | None) -> None:
                uplink = self._reach.uplink
                if future.done():
                    return
                if error is not None or uplink is None:
                    lost = LinkLost("The link went down again.")
                    future.set_exception(error or lost)
                else:
                    future.set_result(uplink)

            self._reach.when_online(then)

        assert not threading.current_thread().name.startswith("devsync-engine-")
        waiting = self._loop.submit(work)
        try:
            return waiting.result(timeout_s)
        except FutureTimeoutError:  # another class before Python 3.11
            raise LinkLost(
                f"The VM could not be reached for {timeout_s:.0f} s.",
                "`colab-devsync status` says why; it goes on trying.",
            ) from None
