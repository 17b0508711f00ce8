"""Asking for files when the link has just broken."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from colab_devsync.core.pulls import Version
from colab_devsync.engine.pulls.fetcher import Fetcher
from colab_devsync.engine.pulls.incoming import Incoming
from colab_devsync.engine.traffic.intake import Intake
from colab_devsync.errors import LinkLost

WAIT_S = 30.0


class BreakingStream:
    """Takes the greeting and one question, and is broken then."""

    def __init__(self) -> None:
        self._writes = 0
        self._broken = threading.Event()

    def write(self, *parts: bytes | memoryview) -> None:
        self._writes += 1
        if self._writes > 2:
            self._broken.set()
            raise LinkLost("broken")

    def read_parts(self, size: int) -> list[bytes]:
        self._broken.wait(WAIT_S)
        raise LinkLost("broken")

    def close(self) -> None:
        self._broken.set()

    def close_write(self) -> None:
        """Nobody reads it."""

    def wait_end(self) -> None:
        """Nobody waits for it."""


def test_nothing_is_asked_for_again_and_again_on_a_broken_link(tmp_path: Path) -> None:
    """Until the worker has closed it, which may take its time."""
    lost, ready = threading.Event(), threading.Event()
    uplink: Any = SimpleNamespace(
        incoming=Intake(),
        client=SimpleNamespace(
            extras_lock=threading.Lock(),
            extras={"pulls"},
            is_lost=False,
            lose=lambda error: lost.set(),
        ),
        open_streams=lambda count: tuple(BreakingStream() for _ in range(count)),
    )
    hungry: list[None] = []
    item = Incoming(
        "a.pt",
        Version(1, 2, 100_000_000, 3),
        [],
        form="",
        part=tmp_path / "part",
        have=[],
        note=lambda text: None,
        on_hungry=lambda: hungry.append(None),
        on_end=lambda outcome: None,
    )
    fetcher = Fetcher(uplink, ready.set)
    fetcher.start()
    try:
        assert ready.wait(WAIT_S)
        asking = _thread("devsync-pull-ask")
        fetcher.use([item])
        assert lost.wait(WAIT_S)
        asking.join(WAIT_S)
        assert not asking.is_alive()
        assert len(hungry) < 20
    finally:
        fetcher.close()
        item.start()
        item.abandon(keep=False)


def _thread(name: str) -> threading.Thread:
    return next(one for one in threading.enumerate() if one.name == name)
