"""Where things are kept on this machine, one folder per project and profile."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import platformdirs

_APP = "colab-devsync"


def state_dir() -> Path:
    """Indexes, pins, kept versions. `COLAB_DEVSYNC_STATE_DIR` overrides."""
    chosen = os.environ.get("COLAB_DEVSYNC_STATE_DIR")
    return (
        Path(chosen) if chosen else platformdirs.user_state_path(_APP, appauthor=False)
    )


def cache_dir() -> Path:
    """What can be made again: the sandbox's VM. `COLAB_DEVSYNC_CACHE_DIR` overrides."""
    chosen = os.environ.get("COLAB_DEVSYNC_CACHE_DIR")
    return (
        Path(chosen) if chosen else platformdirs.user_cache_path(_APP, appauthor=False)
    )


def project_state_dir(root: Path, profile: str | None) -> Path:
    """This project's own folder; made if absent, readable by the user only."""
    identity = f"{root.resolve()}\0{profile or ''}".encode("utf-8", "surrogateescape")
    name = f"{root.name[:40]}-{hashlib.sha256(identity).hexdigest()[:16]}"
    folder = state_dir() / "projects" / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
