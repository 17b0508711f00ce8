"""Joins a local socket and a stream from the VM until both directions have ended.

Two threads per connection, each blocking in one direction: the caller's and
`devsync-forward-down`. Half-closes are passed on, broken ends too: a connection that
was cut is reset, so that it never looks complete.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading

from ...errors import LinkError
from ...link.base import Stream

_PIECE = 256 << 10
_RESET = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class Splice:
    """One connection. `run` blocks to its end; `abort` is for any thread."""

    def __init__(self, sock: socket.socket, stream: Stream) -> None:
        self._sock = sock
        self._stream = stream
        self._lock = threading.Lock()
        self._ended = 0  # directions that ended in order
        self._aborted = False

    def run(self) -> None:
        down = threading.Thread(
            target=self._down, name="devsync-forward-down", daemon=True
        )
        down.start()
        try:
            self._up()
        finally:
            down.join()
            self._stream.close()
            self._sock.close()

    def abort(self) -> None:
        """Ends it now; the local program sees a reset."""
        self._aborted = True
        self._stream.close()
        reset(self._sock)

    def _up(self) -> None:
        buffer = memoryview(bytearray(_PIECE))
        try:
            while size := self._sock.recv_into(buffer):
                self._stream.write(buffer[:size])
            self._stream.close_write()
            self._end_one()
        except LinkError:
            pass  # `_down` sees it as well, and tells the local program
        except OSError:  # the local program broke off
            self._stream.close()

    def _down(self) -> None:
        try:
            while data := self._stream.read(_PIECE):
                self._sock.sendall(data)
            if self._aborted:
                return
            self._sock.shutdown(socket.SHUT_WR)
            self._end_one()
            self._stream.wait_end()
            self._sock.shutdown(socket.SHUT_RDWR)  # wakes `_up`: nobody takes its data
        except LinkError:
            reset(self._sock)
        except OSError:  # the local program broke off, or has closed by itself
            self._stream.close()
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)

    def _end_one(self) -> None:
        with self._lock:
            self._ended += 1
            both = self._ended == 2
        if both:  # the other thread may wait for an end that has come
            self._stream.close()


def reset(sock: socket.socket) -> None:
    """Lets the other program see that this is no proper end; wakes our threads."""
    with contextlib.suppress(OSError):  # it is gone
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        if sys.platform == "win32":
            sock.close()
        else:
            sock.shutdown(socket.SHUT_RD)
