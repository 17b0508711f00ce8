"""Opens a connection to a running daemon and shakes hands.

The client sends one JSON line (secret, profile), the daemon answers one (version, pid);
LSP messages follow on the same socket. Only after the answer does a client know that it
talks to a living daemon, not to a socket that was left behind or is being closed.
Runs on the caller's thread; imports nothing heavy.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from dataclasses import dataclass
from typing import Any

from ..errors import Busy, DevsyncError
from .address import Address

_HELLO_LIMIT = 4096


class NotRunning(DevsyncError):
    """No daemon listens at the address."""


@dataclass(frozen=True)
class Hello:
    """The daemon's answer to a handshake."""

    version: str
    pid: int


def dial(
    address: Address, *, profile: str | None = None, timeout_s: float = 10.0
) -> tuple[socket.socket, Hello]:
    """A blocking socket, ready for LSP messages. NotRunning; Busy if it hangs."""
    secret = ""
    try:
        if sys.platform != "win32" and address.kind == "unix":
            connection = _dial_unix(address, timeout_s)
        else:
            connection, secret = _dial_tcp(address, timeout_s)
    except TimeoutError as exc:
        raise _hangs(address) from exc
    except (OSError, ValueError) as exc:
        raise NotRunning(f"No daemon answers at {address.socket}.") from exc
    try:
        hello = shake_hands(connection, secret=secret, profile=profile)
    except TimeoutError as exc:
        connection.close()
        raise _hangs(address) from exc
    except (OSError, ValueError) as exc:
        connection.close()
        raise NotRunning(f"The daemon at {address.socket} is ending.") from exc
    connection.settimeout(None)
    return connection, hello


def shake_hands(
    connection: socket.socket, *, secret: str = "", profile: str | None = None
) -> Hello:
    """OSError or ValueError if the other side is not a daemon."""
    profile = profile or os.environ.get("COLAB_DEVSYNC_PROFILE") or None
    line = json.dumps({"secret": secret, "profile": profile}).encode() + b"\n"
    connection.sendall(line)
    answer = b""
    while not answer.endswith(b"\n"):
        # The daemon says nothing more until we speak, so this can't read too much.
        chunk = connection.recv(_HELLO_LIMIT)
        if not chunk or len(answer) > _HELLO_LIMIT:
            raise ConnectionResetError("closed during the handshake")
        answer += chunk
    body: dict[str, Any] = json.loads(answer)
    return Hello(version=str(body["version"]), pid=int(body["pid"]))


if sys.platform != "win32":

    def _dial_unix(address: Address, timeout_s: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(address.socket))
        except BaseException:
            connection.close()
            raise
        return connection


def _dial_tcp(address: Address, timeout_s: float) -> tuple[socket.socket, str]:
    body = json.loads(address.socket.read_text(encoding="utf-8"))
    port, secret = int(body["port"]), str(body["secret"])
    connection = socket.create_connection(("127.0.0.1", port), timeout_s)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection, secret


def _hangs(address: Address) -> Busy:
    return Busy(
        f"The daemon at {address.socket} accepts connections but does not answer.",
        f"End its process (its id is in {address.lock}) and look into {address.log}.",
    )
