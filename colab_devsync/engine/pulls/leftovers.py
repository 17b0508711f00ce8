"""Parts of files for rules that the configuration has no more.

Nobody would ever go on with them, and they can be large. On the worker's thread, or on
the engine's where there is none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path

from ...agent.paths import STATE_DIR
from .landing import part_name
from .record import Record


def clear(root: Path, record: Record, rules: Collection[str]) -> None:
    """Deletes them, and only what we have noted. `rules`: the names of those there are;
    a rule's name is its folder."""
    for rule in record.rules_with_parts():
        if rule not in rules:
            _clear(root / rule / STATE_DIR, record, rule)


def clear_all(root: Path, folder: Path) -> None:
    """`clear` where no rule is left. `folder`: the project's own state."""
    if Record.is_in(folder):
        record = Record(folder)
        try:
            clear(root, record, ())
        finally:
            record.close()


def _clear(folder: Path, record: Record, rule: str) -> None:
    for path in record.parts(rule):
        held = record.part(rule, path)
        if held is not None:
            record.drop_part(rule, path)
            with contextlib.suppress(OSError):
                (folder / part_name(record.owner, path, held[0])).unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()  # if it is empty
