"""Ports of this machine that nobody else gets."""

from __future__ import annotations

import atexit
import socket
import sys

_held: list[socket.socket] = []


def free_port() -> int:
    """A port of 127.0.0.1 where nobody listens, for as long as this process lives.

    We keep it bound: connections to it are refused, who asks for any port gets another
    one, and who is told this one may listen there, as often as it likes.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    port = int(held.getsockname()[1])
    if sys.platform == "linux":
        _held.append(held)
        atexit.register(held.close)
    else:  # elsewhere a bound port is taken, though nobody listens
        held.close()
    return port
