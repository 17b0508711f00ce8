"""The accept loop: hands every local connection to a handler from the layer above.

Runs on the asyncio loop. Knows the handshake and who may connect; knows no LSP.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from .. import __version__
from .hub import Hub
from .listener import Listener

_log = logging.getLogger(__name__)

_HELLO_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Peer:
    """One local connection after its handshake."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    profile: str | None


Handler = Callable[[Peer, Hub], Awaitable[None]]
"""Serves one client until it leaves."""


class Server:
    """Accepts until `hub.idle` is set, then ends all connections and sessions."""

    def __init__(self, hub: Hub, handler: Handler) -> None:
        self._hub = hub
        self._handler = handler
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, listener: Listener) -> None:
        accept = self._accepting(listener.secret)
        if sys.platform != "win32" and listener.address.kind == "unix":
            server = await asyncio.start_unix_server(accept, sock=listener.socket)
        else:
            server = await asyncio.start_server(accept, sock=listener.socket)
        # A daemon that was started and then never spoken to ends as well.
        self._hub.client_joined()
        self._hub.client_left()
        await self._hub.idle.wait()
        listener.remove()
        server.close()
        await self.end()

    async def serve_socket(self, peer: Peer) -> None:
        """One client of an in-process server."""
        await self._serve_peer(peer)

    async def end(self) -> None:
        """Sessions first: whatever waits for one then gets its answer."""
        await self._hub.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=0.5)

    def _accepting(
        self, secret: str
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def accept(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            peer = await shake_hands(reader, writer, secret)
            if peer is None:
                writer.close()
            else:
                await self._serve_peer(peer)

        return accept

    async def _serve_peer(self, peer: Peer) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._hub.client_joined()
        try:
            await self._handler(peer, self._hub)
        except asyncio.CancelledError:
            _log.debug("connection ended by us")
        except Exception:  # noqa: BLE001 - one client's bug must not end the others
            _log.exception("connection failed")
        finally:
            self._tasks.discard(task)
            peer.writer.close()
            self._hub.client_left()


async def shake_hands(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, secret: str
) -> Peer | None:
    """None if the other side does not know the secret or does not speak."""
    try:
        line = await asyncio.wait_for(reader.readline(), _HELLO_TIMEOUT_S)
        hello = json.loads(line)
        if not isinstance(hello, dict):
            return None
        offered = str(hello.get("secret", ""))
        if not hmac.compare_digest(offered.encode(), secret.encode()):
            _log.warning("a client with a wrong secret was refused")
            return None
        answer = {"server": "colab-devsync", "version": __version__, "pid": os.getpid()}
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()
    except (TimeoutError, asyncio.TimeoutError, ValueError, ConnectionError):
        return None
    profile = hello.get("profile")
    return Peer(reader, writer, profile if isinstance(profile, str) else None)
