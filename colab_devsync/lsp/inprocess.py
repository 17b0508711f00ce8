"""The same server inside the calling process, at one end of a socket pair.

For `--in-process`: one-shot use, containers, tests. The loop runs on `devsync-loop`.
"""

from __future__ import annotations

import asyncio
import socket
import threading

from ..daemon.dial import shake_hands as greet
from ..daemon.hub import Hub
from ..daemon.process import quieten_libraries, settings
from ..daemon.server import Server, shake_hands
from .connection import serve


class InProcess:
    """A server of one client. `socket` is the client's end, ready for LSP."""

    def __init__(self, profile: str | None) -> None:
        quieten_libraries()
        self.socket, self._theirs = socket.socketpair()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve()), name="devsync-loop", daemon=True
        )
        self._thread.start()
        greet(self.socket, profile=profile)

    def close(self) -> None:
        """Closes the sessions; up to a second or two."""
        self.socket.close()
        self._thread.join(3)

    async def _serve(self) -> None:
        linger_s, question_s = settings()
        hub = Hub(
            asyncio.get_running_loop(),
            linger_s=linger_s,
            question_timeout_s=question_s,
        )
        reader, writer = await asyncio.open_connection(sock=self._theirs)
        server = Server(hub, serve)
        peer = await shake_hands(reader, writer, "")
        if peer is not None:
            await server.serve_socket(peer)
        await server.end()
