"""Carries bytes between a program and its stream. One thread per direction.

Both ends are bounded: output waits for the client's acknowledgements, and input is
acknowledged when the program has taken it. So neither holds up a signal.
"""

from __future__ import annotations

import os
import queue
import select
import sys
import threading
import time
from typing import Callable, NamedTuple, Optional

assert sys.platform != "win32"  # runs on the VM only

from . import wire
from .credit import Credit

_LOOK_UP_S = 0.2
_MAX_QUEUED = 16 << 20

Send = Callable[[wire.Meta, bytes], None]


class Link(NamedTuple):
    """The way back to the client, shared by a program's pumps."""

    send: Send
    credit: Credit


class Output:
    """Sends what `read` gives, until its end."""

    def __init__(self, read: Callable[[int], bytes], number: int, link: Link) -> None:
        """`read(size)` blocks; b"" is the end."""
        self._read = read
        self._number = number
        self._link = link
        self._silent_since: Optional[float] = None  # None while it is sending
        self._thread = threading.Thread(
            target=self._pump, name="devsync-exec-output", daemon=True
        )
        self.start = self._thread.start

    def _pump(self) -> None:
        try:
            # What there is no room for stays in the program's pipe.
            for room in iter(self._link.credit.room, 0):
                self._silent_since = time.monotonic()
                data = self._read(room)
                self._silent_since = None
                if not data:
                    return
                self._link.credit.sent(len(data))
                self._link.send({"op": "output", "stream": self._number}, data)
        except OSError:
            pass  # the stream is gone: who serves it ends the program

    def finish(self, grace_s: float) -> bool:
        """Waits until all is sent. False if the end did not come in `grace_s` of
        silence: a grandchild may hold a pipe open for ever; what it says is not ours.
        """
        while self._thread.is_alive():
            self._thread.join(grace_s / 10)
            since = self._silent_since
            if since is not None and time.monotonic() - since > grace_s:
                return False
        return True


class Input:
    """Writes to the non-blocking `fd`, which is its own and closed at the end."""

    def __init__(self, fd: int, end_of_file: bytes, link: Link) -> None:
        """`end_of_file` is what says so to a terminal; a pipe is closed."""
        self._fd = fd
        self._end_of_file = end_of_file
        self._link = link
        self._queue: "queue.Queue[Optional[bytes]]" = queue.Queue()
        self._came = self._went = 0  # bytes; each is changed by one thread only
        self._closed = False
        self._thread = threading.Thread(
            target=self._pump, name="devsync-exec-input", daemon=True
        )
        self.start = self._thread.start

    def put(self, data: bytes) -> None:
        """Never blocks. WireError if the client does not heed our acknowledgements."""
        self._came += len(data)
        if self._came - self._went > _MAX_QUEUED:
            raise wire.WireError("more input than was asked for")
        self._queue.put(data)

    def finish(self) -> None:
        """No more will come; what does is dropped."""
        self._queue.put(None)

    def close(self) -> None:
        """What was not taken is dropped."""
        self._closed = True
        self._queue.put(None)
        if self._thread.ident is None:
            self._pump()  # it was never started

    def _pump(self) -> None:
        try:
            while not self._closed:
                data = self._queue.get()
                if data is None:
                    self._write(self._end_of_file)
                    self._shut()
                    continue
                self._write(data)
                self._went += len(data)
                self._link.send({"op": "taken", "bytes": len(data)}, b"")
        except OSError:
            pass  # the stream is gone
        finally:
            self._shut()

    def _write(self, data: bytes) -> None:
        """All of it, unless the program closes its end or is to end."""
        writable = select.poll()
        if self._fd >= 0:
            writable.register(self._fd, select.POLLOUT)
        while data and self._fd >= 0 and not self._closed:
            writable.poll(_LOOK_UP_S * 1000)
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                continue
            except OSError:
                self._shut()

    def _shut(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
