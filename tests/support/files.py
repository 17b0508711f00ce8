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


def noted_ranges(folder: Path) -> dict[int, int]:
    """Offsets and lengths of what the agent has noted as stored of the only unfinished
    file below `folder`; empty if there is none."""
    found: dict[int, int] = {}
    for log in folder.rglob("*.got"):
        for line in log.read_bytes().split(b"\n")[:-1]:  # the last may be torn
            words = line.split()
            if len(words) >= 2 and words[0].isdigit():
                found[int(words[0])] = int(words[1])
    return found


def noted_pieces(folder: Path) -> int:
    """Bytes of it."""
    return sum(noted_ranges(folder).values())
