"""Many small files in one answer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ...core.pulls import Version
from ...remote.client import Meta
from ...remote.pulling import Parts
from ..traffic.intake import Intake
from .incoming import Outcome

_FILES, _BYTES = 200, 1 << 20  # of an answer


@dataclass(frozen=True)
class Small:
    """One of them; `about`: as the agent knows it."""

    path: str
    version: Version
    about: list[object]


@dataclass(frozen=True)
class Came:
    """What became of one."""

    file: Small
    outcome: Outcome
    content: bytes = b""


class Batch:
    """`on_end` is called once, on a lane's thread; with None if the link broke before.
    Implements `Answer` of remote/pulling.py."""

    def __init__(
        self, files: list[Small], on_end: Callable[[Batch, list[Came] | None], None]
    ) -> None:
        self.files = files
        self.size = sum(one.version.size for one in files)
        self.is_asked = False
        self._window: Intake | None = None
        self._unpaid = 0
        self._on_end = on_end
        self._pieces: list[bytes | memoryview] = []

    def ask_with(self, window: Intake) -> Meta:
        """What to ask for; `window` has room for it."""
        self._window, self._unpaid = window, self.size
        return {"op": "files", "files": [one.about for one in self.files]}

    def piece(self, parts: Parts) -> None:
        self._pieces += parts
        paid = min(sum(map(len, parts)), self._unpaid)
        self._unpaid -= paid
        if self._window is not None:
            self._window.release(paid)

    def done(self, meta: Meta) -> None:
        self._settle()
        data, at = memoryview(b"".join(self._pieces)), 0
        came: list[Came] = []
        for one, result in zip(self.files, meta["results"], strict=True):
            if isinstance(result, str):
                content = bytes(data[at : at + one.version.size])
                at += one.version.size
                came.append(Came(one, _checked(content, result), content))
            elif result.get("changed"):
                came.append(Came(one, Outcome(changed=True)))
            else:
                came.append(Came(one, Outcome(problem=str(result["failed"]))))
        self._on_end(self, came)

    def lost(self) -> None:
        self._settle()
        self._on_end(self, None)

    def _settle(self) -> None:
        if self._window is not None:
            self._window.cancel(self._unpaid)
            self._unpaid = 0


def batched(files: Iterable[tuple[str, int]], limit: int) -> list[list[str]]:
    """The first of these files (path, size), in so many answers of a bearable size at
    most."""
    made: list[list[str]] = []
    total = 0
    for path, size in files:
        if not made or len(made[-1]) >= _FILES or total >= _BYTES:
            if len(made) >= limit:
                break
            made.append([])
            total = 0
        made[-1].append(path)
        total += size
    return made


def _checked(content: bytes, wanted: str) -> Outcome:
    found = hashlib.sha256(content).hexdigest()
    return Outcome(content=found) if found == wanted else Outcome(damaged=True)
