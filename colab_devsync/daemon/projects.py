"""Finds the project a path belongs to. Reads names on disk, nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from ..core.config import CONFIG_NAME
from ..errors import ConfigError


def find_root(start: Path) -> Path | None:
    """The nearest folder at or above `start` that holds a configuration."""
    folder = Path(os.path.abspath(start))
    for candidate in (folder, *folder.parents):
        if (candidate / CONFIG_NAME).is_file():
            return candidate
    return None


def require_root(start: Path) -> Path:
    """ConfigError when `start` is in no project."""
    root = find_root(start)
    if root is None:
        raise ConfigError(
            f"No {CONFIG_NAME} in {os.path.abspath(start)} or a folder above it.",
            "Run `colab-devsync init` in your project folder.",
        )
    return root
