"""The sessions that the official Colab command line tool knows, by name.

Reads its store as it is; a store that is not there, or is written in another way, has
no sessions. Any thread; one small file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def session_names(store: Path | None = None) -> list[str]:
    """Sorted; [] if the tool is not used here."""
    try:
        data = json.loads((store or _store()).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return sorted(set(_names(data)))


def _store() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "colab-cli" / "sessions.json"


def _names(data: Any) -> Iterator[str]:
    """A list of sessions, or sessions by name, perhaps below "sessions"."""
    if isinstance(data, dict):
        inner = data.get("sessions", data)
        if isinstance(inner, list):
            yield from _names(inner)
        elif isinstance(inner, dict):
            yield from (name for name, one in inner.items() if isinstance(one, dict))
    elif isinstance(data, list):
        for one in data:
            if isinstance(one, dict) and isinstance(one.get("name"), str):
                yield one["name"]
