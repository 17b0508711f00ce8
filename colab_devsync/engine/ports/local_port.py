"""Listens on 127.0.0.1, on the wished port or the next free one. Any thread."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterator

HOST = "127.0.0.1"  # never another address: whoever reaches it is on this machine
_BACKLOG = 256
_TRIES = 100
_FIRST_FREE = 1024  # below, ports are the administrator's


def listen(wish: int, avoid: int = 0) -> socket.socket:
    """A listener nobody else can share. 0: any port. `avoid` counts as taken.
    OSError if the machine has none left."""
    for port in _candidates(wish):
        if port == avoid:
            continue
        try:
            return _listen_at(port)
        except OSError as exc:
            if exc.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
    return _listen_at(0)


def is_taken(port: int) -> bool:
    """Whether somebody listens on this port of this machine."""
    try:
        with socket.socket() as probe:
            _claim(probe)
            probe.bind((HOST, port))
    except OSError:
        return True
    return False


def _candidates(wish: int) -> Iterator[int]:
    if wish:
        yield wish
        start = max(wish + 1, _FIRST_FREE)
        yield from range(start, min(start + _TRIES, 65536))


def _listen_at(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        _claim(listener)
        if port and sys.platform == "darwin" and _answers(port):
            raise OSError(errno.EADDRINUSE, "somebody listens on all addresses")
        listener.bind((HOST, port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _claim(sock: socket.socket) -> None:
    if sys.platform == "win32":
        # There, SO_REUSEADDR would let any program share the port.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        # Ours again at once after a restart; a port that is listened on stays taken.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def _answers(port: int) -> bool:
    """macOS lets 127.0.0.1 be bound in front of somebody's listener on 0.0.0.0."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((HOST, port)) == 0
