"""Replaces a small file in one step, so that a reader sees the old text or the new."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def replace_file(path: Path, text: str | bytes, *, mode: int) -> bool:
    """Writes `text` where `path` leads (a symbolic link stays one). `mode` is for a new
    file; an old one keeps its own. False if nothing changed. OSError; the old file is
    then untouched."""
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    target = Path(os.path.realpath(path))
    with contextlib.suppress(FileNotFoundError):
        if target.read_bytes() == data:
            return False
        mode = target.stat().st_mode & 0o7777
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return True
