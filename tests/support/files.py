"""Removes folders in which others are still writing."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.run_output import until


def remove_tree(folder: Path) -> None:
    """All of it, though an agent or a keeper makes another file meanwhile."""

    def is_gone() -> bool:
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()

    until(is_gone, f"{folder} is gone")
