"""The documents a client has open, as the features look at them. On the loop."""

from __future__ import annotations

from pathlib import Path

from ..core.config import CONFIG_NAME
from .local_paths import fs_path
from .positions import TextMap
from .server import DevsyncServer


def path_of(uri: str) -> Path | None:
    """None for what is no file."""
    path = fs_path(uri)
    return Path(path) if path else None


def is_config(uri: str) -> bool:
    path = path_of(uri)
    return path is not None and path.name == CONFIG_NAME


def is_python(uri: str) -> bool:
    path = path_of(uri)
    return path is not None and path.suffix == ".py"


def text_map(ls: DevsyncServer, uri: str) -> TextMap | None:
    """The text with its positions. None if there is none."""
    text = source_of(ls, uri)
    return None if text is None else TextMap(text, ls.workspace.position_encoding)


def source_of(ls: DevsyncServer, uri: str) -> str | None:
    """The text as the client has it, or as it is on disk. None if there is none."""
    try:
        return ls.workspace.get_text_document(uri).source
    except (OSError, UnicodeDecodeError):
        return None
