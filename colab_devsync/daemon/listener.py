"""Opens the daemon's listening socket and removes it again.

Call with the lock held: whatever stands at the address then belongs to nobody.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
from dataclasses import dataclass

from .address import Address


@dataclass(frozen=True)
class Listener:
    """A bound, listening socket; `secret` is empty where the folder protects it."""

    address: Address
    socket: socket.socket
    secret: str

    def remove(self) -> None:
        """Takes the address away, so that no new client tries. Idempotent."""
        self.address.socket.unlink(missing_ok=True)


def listen(address: Address) -> Listener:
    """OSError if the address can't be used."""
    address.socket.unlink(missing_ok=True)  # left behind by a killed daemon
    if sys.platform != "win32" and address.kind == "unix":
        return _listen_unix(address)
    return _listen_tcp(address)


if sys.platform != "win32":

    def _listen_unix(address: Address) -> Listener:
        bound = socket.socket(socket.AF_UNIX)
        bound.bind(str(address.socket))
        os.chmod(address.socket, 0o600)
        bound.listen(64)
        return Listener(address, bound, "")


def _listen_tcp(address: Address) -> Listener:
    bound = socket.create_server(("127.0.0.1", 0), backlog=64)
    secret = secrets.token_urlsafe(32)
    body = json.dumps({"port": bound.getsockname()[1], "secret": secret})
    # Written beside and renamed: nobody reads half a secret.
    draft = address.socket.with_suffix(".new")
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(body)
    os.replace(draft, address.socket)
    return Listener(address, bound, secret)
