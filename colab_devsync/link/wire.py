"""The byte pipe under SSH: what a provider must supply, and the one made of a socket.

Reads happen on the SSH transport's thread, writes on any; nothing here locks. A relay,
a WebSocket or a command's pipes become a link by offering the same four methods.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Protocol

from ..errors import ConnectFailed


class Wire(Protocol):
    """A reliable, ordered, bidirectional byte pipe. Blocking."""

    def recv(self, size: int) -> bytes:
        """1 to `size` bytes; b"" at the end. OSError when broken."""

    def send(self, data: bytes | memoryview) -> int:
        """Takes at least one byte; says how many. OSError when broken."""

    def close(self) -> None:
        """Idempotent, never blocks, and wakes a blocked `recv` and `send`."""


class SocketWire:
    """A connected socket."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(None)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock

    def recv(self, size: int) -> bytes:
        return self._sock.recv(size)

    def send(self, data: bytes | memoryview) -> int:
        return self._sock.send(data)

    def close(self) -> None:
        # close() alone does not wake a thread that is inside recv or send
        with contextlib.suppress(OSError):  # the peer was faster
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


def dial(host: str, port: int, timeout_s: float) -> SocketWire:
    """A TCP connection to `host`:`port`. ConnectFailed."""
    where = f"{host}:{port}"
    try:
        return SocketWire(socket.create_connection((host, port), timeout_s))
    except (socket.gaierror, UnicodeError) as error:  # no name that DNS could have
        raise ConnectFailed(
            f"cannot find the host {host}: {getattr(error, 'strerror', error)}",
            "check `host` in [link] and your network connection",
        ) from error
    except TimeoutError as error:
        raise ConnectFailed(
            f"no answer from {where} within {timeout_s:.0f} s",
            "check that the VM runs and that its tunnel is up",
        ) from error
    except OSError as error:
        raise ConnectFailed(
            f"cannot connect to {where}: {error.strerror or error}",
            "check `host` and `port` in [link], and that the VM's SSH server runs",
        ) from error
