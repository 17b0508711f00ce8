"""How much may be on its way to somebody who has not said that he took it.

Without it a flood of output fills the tunnel's windows, 64 MB deep, and whatever else
a person does waits behind it. Any thread may call; only `room` blocks.
"""

from __future__ import annotations

import threading
import time

from .pacing import Window


class Credit:
    """Who sends asks for room and says what he sent; what the other side acknowledges,
    piece by piece, gives it back. Never much more than `limit` bytes, and less when
    they queue on the way."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._window = Window()
        self._given = 0  # acknowledged, but not yet a whole piece
        self._closed = False
        self._changed = threading.Condition()

    def room(self) -> int:
        """Blocks until something may be sent; how many bytes. 0 once it is closed:
        nobody will take them."""
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                if self._window.used >= self._limit:
                    self._changed.wait()
                    continue
                room = self._window.room(now)
                if room > 0:
                    return room
                self._changed.wait(self._window.pause_s(now))
            return 0

    def sent(self, size: int) -> None:
        with self._changed:
            self._window.sent(size, time.monotonic())

    def give(self, size: int) -> None:
        """The other side has taken `size` bytes more."""
        with self._changed:
            # Two senders may have overtaken one another between `sent` and the wire.
            self._given += size
            used = self._window.used
            self._window.acked(self._given, time.monotonic())
            self._given -= used - self._window.used
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody waits any more. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
