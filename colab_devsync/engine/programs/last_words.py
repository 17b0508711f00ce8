"""What a run printed before it ended, for the message about that. Blocks."""

from __future__ import annotations

from ...core.runs import RunInfo
from .runs import Runs

_ASK_S = 30.0
_PREFIX = "colab-devsync: "  # what programs of ours on the VM say of themselves
_LINES = 4


def last_words(runs: Runs, run: RunInfo) -> str:
    """What our own program there said, else its last lines; without a full stop.
    LinkError, AgentError, UnknownRun."""
    said = bytearray()

    def heard(stream: str, offset: int, data: bytes) -> None:
        said.extend(data)

    attachment = runs.attach(run.id, heard)
    try:
        attachment.ended.result(_ASK_S)
    finally:
        attachment.close()
    return picked(said.decode("utf-8", "replace")) or run.message or "no reason given"


def picked(said: str) -> str:
    """The lines that tell why."""
    lines = said.strip().splitlines()
    ours = [line[len(_PREFIX) :] for line in lines if line.startswith(_PREFIX)]
    return (ours[-1] if ours else "\n".join(lines[-_LINES:])).rstrip(".")
