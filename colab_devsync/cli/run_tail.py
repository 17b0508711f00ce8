"""The last lines of a run's log: which bytes to ask for, and what of them to show.

Values and small decisions; the main thread's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STREAMS = ("stdout", "stderr")
BEYOND = 1 << 62
"""An offset that no log reaches: nothing of that stream."""

_LINE = 4096  # bytes that a line has at most, nearly always
_LEAST = 64 << 10

Offsets = dict[str, int]


def only(streams: tuple[str, ...]) -> Offsets:
    """From the start, but of these streams only."""
    return {name: 0 if name in streams else BEYOND for name in STREAMS}


class Tail:
    """Collects the end of each stream; `text` gives the last `lines` of it."""

    def __init__(self, lines: int, streams: tuple[str, ...]) -> None:
        self._lines = lines
        self._streams = streams
        self._parts: dict[str, list[bytes]] = {name: [] for name in STREAMS}
        self._starts: Offsets = {}

    def start(self, run: Mapping[str, Any]) -> Offsets:
        """Where to begin to read: `run` says how long its logs are."""
        room = max(_LEAST, self._lines * _LINE)
        self._starts = {
            name: max(0, int(run[name]) - room) if name in self._streams else BEYOND
            for name in STREAMS
        }
        return self._starts

    def take(self, params: Mapping[str, Any]) -> None:
        data = params["text"].encode("utf-8", "surrogateescape")
        self._parts[params["stream"]].append(data)

    def end(self) -> Offsets:
        """Where to go on."""
        return {
            name: start + sum(map(len, self._parts[name]))
            for name, start in self._starts.items()
        }

    def shown(self) -> list[dict[str, Any]]:
        """As output that was told: the last lines of each stream."""
        found = []
        for name in self._streams:
            data = b"".join(self._parts[name])
            last = b"".join(data.splitlines(keepends=True)[-self._lines :])
            if not self._lines or not last:
                continue
            text = last.decode("utf-8", "surrogateescape")
            offset = self.end()[name] - len(last)
            found.append({"offset": offset, "stream": name, "text": text})
        return found
