"""Serves one client from its first message to its last. Runs on the loop."""

from __future__ import annotations

import asyncio
import logging
import threading

from pygls.io_ import run_async

from ..daemon.hub import Hub
from ..daemon.server import Peer
from . import (
    actions,
    commands,
    config_features,
    documents,
    lenses,
    lifecycle,
    requests,
)
from .server import DevsyncServer

_log = logging.getLogger(__name__)


async def serve(peer: Peer, hub: Hub) -> None:
    """The handler that the daemon calls for every connection."""
    server = build(peer, hub)
    try:
        await run_async(
            stop_event=threading.Event(),
            reader=peer.reader,
            protocol=server.protocol,
            error_handler=server.report_server_error,
        )
    except SystemExit:
        pass  # pygls' way to say `exit`; the process belongs to all clients
    except (ConnectionError, asyncio.IncompleteReadError):
        _log.info("a client left in the middle of a message")
    finally:
        await server.close()


def build(peer: Peer, hub: Hub) -> DevsyncServer:
    server = DevsyncServer(peer, hub)
    features = (lifecycle, documents, commands, requests)
    for feature in (*features, actions, config_features, lenses):
        feature.register(server)
    return server
