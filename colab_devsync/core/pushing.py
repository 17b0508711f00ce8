"""What a push is asked to do, and what it did. Values only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class PushSpec:
    """`local` goes to `remote`: absolute on the VM, or relative to `remote.root`."""

    local: Path  # absolute
    remote: str
    unpack: bool = False
    keep_archive: bool = False


@dataclass(frozen=True)
class Skipped:
    """Something of the local folder that stays here, and why."""

    path: str  # "/"-separated, relative to what is pushed
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class PushResult:
    """What one push did."""

    target: str  # absolute, on the VM
    files: int  # written there now
    bytes: int  # of these files
    seconds: float
    sent: int  # bytes of content that went over the link now
    same: int = 0  # files that were there already: same size and time
    replaced: tuple[str, ...] = ()  # what had other contents there before
    skipped: tuple[Skipped, ...] = ()
    unpacked: dict[str, Any] | None = None  # files, bytes, same, skipped

    def as_json(self) -> dict[str, Any]:
        body = asdict(self)
        return {key: value for key, value in body.items() if value is not None}
