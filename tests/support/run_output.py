"""What a run printed, as an attachment delivered it; can be waited on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from colab_devsync.core.runs import RunStream

WAIT_S = 60.0


def until(look: Callable[[], object], what: str) -> None:
    """Waits for what nothing tells of."""
    deadline = time.monotonic() + WAIT_S
    while not look():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)


def end_runs(root: Path) -> None:
    """Runs outlive everything, tests too: ends those of the VM folder `root`."""
    for path in (root / ".colab-devsync" / "runs").glob("*/spec.json"):
        spec = json.loads(path.read_text())
        if "pid" not in spec or path.with_name("status.json").exists():
            continue
        if sys.platform != "win32":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(spec["pid"], signal.SIGKILL)


class RunOutput:
    """An `on_output` that remembers, and checks that nothing is missing or twice."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.streams: dict[str, bytearray] = {
            "stdout": bytearray(),
            "stderr": bytearray(),
        }
        self.wrong: list[str] = []

    def __call__(self, stream: RunStream, offset: int, data: bytes) -> None:
        with self._changed:
            had = self.streams[stream]
            if offset != len(had):
                self.wrong.append(f"{stream}: {offset} after {len(had)}")
            had += data
            self._changed.notify_all()

    @property
    def out(self) -> bytes:
        return bytes(self.streams["stdout"])

    @property
    def err(self) -> bytes:
        return bytes(self.streams["stderr"])

    def wait(self, look: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
        with self._changed:
            assert self._changed.wait_for(look, timeout_s), (
                self.out[-500:],
                self.err[-500:],
            )

    def wait_for(self, text: bytes, timeout_s: float = WAIT_S) -> None:
        self.wait(lambda: text in self.streams["stdout"], timeout_s)
