"""Which uplink there is now, for threads that outlive one and wait for the next."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..errors import LinkLost, connection_closed
from .uplink import Uplink


class LinkWatch:
    """The engine thread tells; any other waits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._uplink: Uplink | None = None
        self._is_wanted = False
        self._is_closed = False

    def tell(self, uplink: Uplink | None, is_wanted: bool) -> bool:
        """How things stand. Whether there is another uplink than before."""
        with self._changed:
            if (uplink, is_wanted) == (self._uplink, self._is_wanted):
                return False
            is_new = uplink is not None and uplink is not self._uplink
            self._uplink, self._is_wanted = uplink, is_wanted
            self._changed.notify_all()
            return is_new

    def wait(
        self,
        is_over: Callable[[], bool] = lambda: False,
        limit_s: float | None = None,
    ) -> Uplink:
        """An uplink that is alive. LinkLost if nobody wants one any more, if
        `is_over` (`wake` makes it look again), or after `limit_s`."""
        until = None if limit_s is None else time.monotonic() + limit_s
        with self._changed:
            while not (found := self._alive()):
                left = None if until is None else until - time.monotonic()
                if not self._is_wanted or self._is_closed or is_over():
                    raise connection_closed()
                if left is not None and left <= 0:
                    raise LinkLost(
                        f"The VM could not be reached for {limit_s:.0f} s.",
                        "`colab-devsync status` says why; it goes on trying.",
                    )
                self._changed.wait(left)
            if self._is_closed or is_over():
                raise connection_closed()
            return found

    def pause(self, seconds: float) -> None:
        """So long, or until something changes."""
        with self._changed:
            self._changed.wait(seconds)

    def _alive(self) -> Uplink | None:
        uplink = self._uplink
        return None if uplink is None or uplink.client.is_lost else uplink

    @property
    def is_wanted(self) -> bool:
        """Whether there is an uplink, or somebody tries to get one."""
        return self._is_wanted

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody waits any longer."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
