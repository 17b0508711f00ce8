"""Files that a configuration names and that are not there: a warning. On the loop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from lsprotocol import types

from ..core.editing.links import FileLink, file_links
from .local_paths import fs_path
from .positions import TextMap

MISSING_FILE = "missing-file"
_NEEDED = ("run.entry", "link.identity_file")


def target_of(link: FileLink, root: Path) -> Path:
    """The file that a link means on this machine."""
    # Path's own expanduser and exists fail for some names; a person may type any.
    return root / os.path.expanduser(link.name)


def absent(text: str, uri: str) -> Iterator[tuple[FileLink, Path]]:
    """What is needed and is not there."""
    path = fs_path(uri)
    if not path:
        return
    for link in file_links(text):
        target = target_of(link, Path(path).parent)
        if link.key in _NEEDED and not os.path.exists(target):
            yield link, target


def missing_files(text: TextMap, uri: str) -> list[types.Diagnostic]:
    return [
        types.Diagnostic(
            range=text.range(link.span),
            message=f"There is no file {target}.",
            severity=types.DiagnosticSeverity.Warning,
            code=MISSING_FILE,
            source="colab-devsync",
        )
        for link, target in absent(text.text, uri)
    ]
