"""A stream to the agent that is open before anybody wants one.

Opening one takes a round trip, which the first line of a run, a command or a shell
would wait for. Only where the server admits forwards: these cost it nothing, while
programs that stand in for them are few.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from ...errors import DevsyncError, ForwardRefused
from ...link.base import Stream

_log = logging.getLogger(__name__)


class Spare:
    """Any thread."""

    def __init__(self, open_one: Callable[[], Stream]) -> None:
        """`open_one` blocks a round trip. ForwardRefused, LinkLost."""
        self._open_one = open_one
        self._lock = threading.Lock()
        self._stream: Stream | None = None
        self.is_opening = False
        self._is_over = False

    def take(self) -> Stream | None:
        """The open one, if there is one; the next is on its way then."""
        with self._lock:
            stream, self._stream = self._stream, None
        self.prepare()
        if stream is not None and not stream.is_open():  # the server tired of it
            stream.close()
            return None
        return stream

    def prepare(self) -> None:
        """Opens one, unless that is done or under way. Never blocks."""
        with self._lock:
            if self._stream is not None or self.is_opening or self._is_over:
                return
            self.is_opening = True
        threading.Thread(target=self._open, name="devsync-spare", daemon=True).start()

    def _open(self) -> None:
        stream = None
        try:
            stream = self._open_one()
        except ForwardRefused:
            self._is_over = True
        except DevsyncError as exc:  # whoever needs a stream finds out for himself
            _log.debug("no spare stream: %s", exc)
        with self._lock:
            self.is_opening = False
            if not self._is_over:
                self._stream, stream = stream, None
        if stream is not None:
            stream.close()

    def close(self) -> None:
        """Idempotent. The connection's end is the stream's."""
        with self._lock:
            self._is_over = True
            self._stream = None
