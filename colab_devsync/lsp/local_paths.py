"""What clients call a file: a URI, or a path."""

from __future__ import annotations

from pathlib import Path

from pygls import uris


def fs_path(uri: str) -> str | None:
    """The path that a `file:` URI means; None for everything else."""
    try:
        return uris.to_fs_path(uri)
    except ValueError:  # no URI at all, like http://[x
        return None


def named(text: str) -> Path:
    """The path that a person or a client wrote, either way."""
    return Path((fs_path(text) if "://" in text else None) or text)
