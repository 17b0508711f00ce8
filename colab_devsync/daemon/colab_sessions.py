"""The Colab sessions there are, for `status`. Reads two small files; any thread."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ..engine.project import load_project
from ..errors import ConfigError
from ..link.colab.store import read_sessions, sessions_file


def sessions_of(root: Path, profile: str | None) -> list[dict[str, Any]] | None:
    """None where the project's link is not `colab`, or cannot be told: that is said
    elsewhere. No tokens. `expiresIn`: seconds until the token must be renewed."""
    try:
        if load_project(root, profile).link.provider != "colab":
            return None
        sessions = read_sessions(sessions_file()).values()
    except ConfigError:
        return None
    now = time.time()
    return [
        {
            "name": one.name,
            "endpoint": one.endpoint,
            "hardware": one.hardware,
            "expiresIn": None if one.expires_at is None else int(one.expires_at - now),
        }
        for one in sessions
    ]
