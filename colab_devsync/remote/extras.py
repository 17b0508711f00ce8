"""Sends the agent the modules that most connections never need, when they are."""

from __future__ import annotations

from .bootstrap import sources_of
from .client import AgentClient


def load_extras(client: AgentClient) -> None:
    """Once per agent. LinkLost, AgentError. Any thread."""
    if not client.has_extras:
        client.request({"op": "load", "modules": sources_of(later=True)}).meta()
        client.has_extras = True
