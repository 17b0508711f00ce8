"""Composes a session's status out of its parts. No state, no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ..core.events import Problem, Status
from .mirroring.mirror import Mirror
from .ports.forwards import Forwards
from .programs.runs import Runs
from .reach import Reach
from .store import Store


def compose(
    root: Path, profile: str | None, reach: Reach, mirror: Mirror | None
) -> Status:
    """On the engine thread."""
    found = Status(
        folder=str(root),
        name=reach.config.name if reach.config else root.name,
        link=reach.state,
        target=reach.label,
        profile=profile,
        rtt_ms=reach.rtt_ms,
        vm=reach.uplink.vm if reach.uplink else None,
        message=reach.message,
    )
    if mirror is None:
        return found
    return replace(
        found,
        pending=mirror.pending(),
        files=len(mirror.store.known),
        conflicts=len(mirror.conflicts),
        problems=(*mirror.all_problems(), *_unnoted(mirror.store)),
    )


def _unnoted(store: Store) -> Iterable[Problem]:
    """That the disk here takes no notes of ours."""
    if store.refusal is not None:
        yield Problem(
            "",
            f"The disk here takes no notes ({store.refusal}). Saves reach the VM all "
            "the same, but that is forgotten if this computer goes down now.",
            f"Make room on the disk of {store.folder}; the notes are made then.",
        )


def with_more(
    status: Status,
    problems: Iterable[Problem | None],
    runs: Runs,
    forwards: Forwards,
) -> Status:
    """What runs and is open besides, and their problems."""
    more = tuple(one for one in problems if one is not None)
    return replace(
        status,
        runs=runs.snapshot,
        forwards=forwards.snapshot,
        problems=(*status.problems, *more, *forwards.problems),
    )
