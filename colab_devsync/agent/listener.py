"""The loopback door for bulk data.

An SSH server gives each channel a 2 MiB window and few session channels, but forwards
are not counted: the client opens several to this listener. Each connection's first
bytes must be one of the tokens, which are good for one connection each.
"""

from __future__ import annotations

import hmac
import os
import socket
import threading
import time
from typing import Callable, List

from . import wire

TOKEN_BYTES = 32
_PATIENCE_S = 30.0  # for a token to arrive
_PAUSE_S = 0.1

Serve = Callable[[socket.socket], None]


class Listener:
    """Accepts on its own thread, serves each connection on one of its own."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._tokens: List[bytes] = []
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(64)
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(
            target=self._accept, name="devsync-accept", daemon=True
        ).start()

    def tokens(self, count: int) -> List[str]:
        """Fresh one-time tokens, hex."""
        fresh = [os.urandom(TOKEN_BYTES) for _ in range(count)]
        with self._lock:
            self._tokens += fresh
        return [token.hex() for token in fresh]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # gone already, or too many open files just now
                time.sleep(_PAUSE_S)
                continue
            threading.Thread(
                target=self._greet, args=(connection,), name="devsync-bulk", daemon=True
            ).start()

    def _greet(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(_PATIENCE_S)
            try:
                shown = _read_exactly(connection, TOKEN_BYTES)
            except OSError:
                return
            if self._admit(shown):
                connection.settimeout(None)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._serve(connection)

    def _admit(self, shown: bytes) -> bool:
        with self._lock:
            for token in self._tokens:
                if hmac.compare_digest(token, shown):
                    self._tokens.remove(token)
                    return True
        return False


class Sender:
    """Sends frames of a program on its own connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def __call__(self, meta: wire.Meta, data: bytes) -> None:
        with self._lock:
            self._connection.sendall(wire.encode(0, meta, data))


def hanging_up(connection: socket.socket) -> Callable[[], None]:
    """Ends a stream for who reads it, here and there."""

    def hang_up() -> None:
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended

    return hang_up


def _read_exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            break
        data += piece
    return data
