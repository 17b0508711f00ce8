"""What one step of `doctor` found. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import DevsyncError


@dataclass(frozen=True)
class Check:
    """One step. `ok` None = not reached, or only worth knowing."""

    name: str
    ok: bool | None
    message: str
    hint: str = ""


def failed(name: str, error: DevsyncError) -> Check:
    return Check(name, False, error.message, error.hint)
