"""LSP's base protocol for synchronous clients: one JSON message per frame.

Pure but for the stream given; no threads. pygls has its own for the server's side.
"""

from __future__ import annotations

import json
from typing import Any, BinaryIO

from ..errors import DevsyncError

Message = dict[str, Any]


class BadFrame(DevsyncError):
    """The other side does not speak the protocol."""


def encode(message: Message) -> bytes:
    # ASCII only: lone surrogates (bytes that are not UTF-8) travel as escapes.
    body = json.dumps(message).encode("ascii")
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def read(stream: BinaryIO) -> Message | None:
    """The next message; None at the end of the stream."""
    length = -1
    while True:
        line = stream.readline(1024)
        if not line:
            return None
        if not line.strip():
            break
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
    if length < 0:
        raise BadFrame("A message without Content-Length came from the daemon.")
    body = stream.read(length)
    if len(body) < length:
        return None
    message = json.loads(body)
    if not isinstance(message, dict):
        raise BadFrame("Something other than a JSON object came from the daemon.")
    return message
