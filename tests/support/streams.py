"""What comes over a wire comes in pieces, wherever the wire likes to cut."""

from __future__ import annotations

import socket
from typing import Protocol


class Readable(Protocol):
    """A `Stream` of the link."""

    def read(self, size: int) -> bytes: ...


def receive(source: Readable | socket.socket, size: int) -> bytes:
    """As many bytes as are asked for; less only at the end."""
    read = source.recv if isinstance(source, socket.socket) else source.read
    found = b""
    while len(found) < size and (data := read(size - len(found))):
        found += data
    return found
