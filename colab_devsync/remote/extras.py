"""Sends the agent the modules that most connections never need, when they are."""

from __future__ import annotations

import json
import zlib

from .bootstrap import Part, sources_of
from .client import AgentClient


def load_extras(client: AgentClient, part: Part) -> None:
    """Once per agent. LinkLost, AgentError. Any thread; blocks a round trip."""
    with client.extras_lock:
        if part not in client.extras:
            packed = zlib.compress(json.dumps(sources_of(part)).encode(), 9)
            client.request({"op": "load", "z": True}, packed).meta()
            client.extras.add(part)
