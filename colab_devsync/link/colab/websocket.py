"""A WebSocket as a `Wire`: SSH's bytes in binary frames, over TLS.

websocket-client makes the connection (through an HTTP proxy too, if the environment
names one) and knows the frames. Reading and writing happen on two threads, and OpenSSL
does not admit that on one connection: `SharedSocket` takes turns.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import sys
import threading
from collections.abc import Sequence

import websocket
from websocket import ABNF

_READ_AHEAD = 256 * 1024


class UpgradeRefused(Exception):
    """The server answered with something else than a WebSocket."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.body = body


class WebSocketWire:
    """Implements `Wire` of link/wire.py."""

    def __init__(self, connected: websocket.WebSocket) -> None:
        assert connected.sock is not None
        self._socket = SharedSocket(connected.sock)
        connected.sock = self._socket  # type: ignore[assignment]
        self._frames = connected
        self._ahead = b""
        self._at = 0

    def recv(self, size: int) -> bytes:
        if self._at == len(self._ahead):
            self._ahead = self._next()
            self._at = 0
        data = self._ahead[self._at : self._at + size]
        self._at += len(data)
        return data

    def send(self, data: bytes | memoryview) -> int:
        try:
            self._frames.send_binary(bytes(data))
        except websocket.WebSocketException as error:
            raise ConnectionResetError(str(error)) from error
        return len(data)

    def close(self) -> None:
        self._socket.close()

    def _next(self) -> bytes:
        """The next frame that holds something; b"" at the end."""
        while True:
            try:
                opcode, data = self._frames.recv_data()
            except websocket.WebSocketException:
                return b""
            if opcode == ABNF.OPCODE_CLOSE:
                return b""
            if data:
                return bytes(data)


def open_websocket(url: str, headers: Sequence[str], timeout_s: float) -> WebSocketWire:
    """UpgradeRefused; OSError (TLS, name, time-out) and WebSocketException, in whose
    texts the URL does not occur."""
    made = websocket.WebSocket(
        sslopt={"context": ssl.create_default_context()},
        skip_utf8_validation=True,
        enable_multithread=True,
    )
    try:
        made.connect(  # type: ignore[no-untyped-call]
            url, header=list(headers), timeout=timeout_s, redirect_limit=0
        )
    except websocket.WebSocketBadStatusException as error:
        body = error.resp_body or b""
        raise UpgradeRefused(
            error.status_code, body.decode("utf-8", "replace").strip()
        ) from None
    return WebSocketWire(made)


class SharedSocket:
    """A socket, TLS or not, for one thread that reads and others that write.

    Nobody waits inside OpenSSL: calls do not block and hold the lock, waiting for the
    network is outside. `close` may come from any thread and wakes all. The names are
    those that websocket-client asks a socket for.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._lock = threading.Lock()
        self._is_closed = False
        self._waiting = 0
        self._ahead = b""
        self._at = 0

    def gettimeout(self) -> None:
        """It waits for as long as it takes."""

    def recv(self, size: int) -> bytes:
        """Up to `size` bytes; b"" at the end."""
        if self._at == len(self._ahead):
            self._ahead = self._receive()
            self._at = 0
        data = self._ahead[self._at : self._at + size]
        self._at += len(data)
        return data

    def _receive(self) -> bytes:
        while True:
            with self._lock:
                if self._is_closed:
                    return b""
                try:
                    return self._sock.recv(_READ_AHEAD)
                except ssl.SSLWantWriteError:
                    writes = True
                except (ssl.SSLWantReadError, BlockingIOError):
                    writes = False
                self._waiting += 1
            self._wait(writes)

    def send(self, data: bytes) -> int:
        while True:
            with self._lock:
                if self._is_closed:
                    raise BrokenPipeError("closed")
                try:
                    return self._sock.send(data)
                except ssl.SSLWantReadError:
                    writes = False
                except (ssl.SSLWantWriteError, BlockingIOError):
                    writes = True
                self._waiting += 1
            self._wait(writes)

    def close(self) -> None:
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            # Of the plain socket: TLS's own would first forget that there is TLS.
            with contextlib.suppress(OSError):  # the peer was faster
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
            if not self._waiting:
                self._sock.close()

    def _wait(self, writes: bool) -> None:
        """Until the network is ready, or `close`. Whoever waits last after that closes
        the socket: its number must not be somebody else's meanwhile."""
        try:
            _wait_ready(self._sock, writes)
        finally:
            with self._lock:
                self._waiting -= 1
                if self._is_closed and not self._waiting:
                    self._sock.close()


if sys.platform == "win32":

    def _wait_ready(sock: socket.socket, writes: bool) -> None:
        select.select(*(([], [sock]) if writes else ([sock], [])), [])

else:

    def _wait_ready(sock: socket.socket, writes: bool) -> None:
        ready = select.poll()  # unlike select, for any number of open files
        ready.register(sock, select.POLLOUT if writes else select.POLLIN)
        ready.poll()
