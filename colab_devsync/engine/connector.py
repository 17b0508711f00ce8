"""Keeps trying to reach the VM, on its own thread, until it is told to stop.

Transient failures are tried again with growing, jittered pauses, and at once when
somebody saves; failures that need a person are not.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

from ..core.events import Ask
from ..errors import AgentCrashed, ConnectFailed, DevsyncError, LinkLost
from .uplink import Target, Uplink, open_uplink

_log = logging.getLogger(__name__)

_TIMEOUT_S = 20.0
_FIRST_PAUSE_S = 0.2
_LAST_PAUSE_S = 5.0
_TRANSIENT = (ConnectFailed, LinkLost, AgentCrashed)


@dataclass(frozen=True)
class Report:
    """How one attempt ended: an uplink, or an error and whether it is tried again."""

    uplink: Uplink | None
    error: DevsyncError | None = None
    is_final: bool = False


class Connector:
    """One series of attempts; `on_report` runs on its thread."""

    def __init__(
        self, target: Target, ask: Ask, on_report: Callable[[Report], None]
    ) -> None:
        self._target = target
        self._ask = ask
        self._on_report = on_report
        self._hint = threading.Event()
        self._stopped = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="devsync-connect", daemon=True).start()

    def hurry(self) -> None:
        """Somebody wants the link now: ends the current pause."""
        self._hint.set()

    def stop(self) -> None:
        self._stopped.set()
        self._hint.set()

    def _run(self) -> None:
        pause = _FIRST_PAUSE_S
        while not self._stopped.is_set():
            report = self._attempt()
            if self._stopped.is_set():
                if report.uplink is not None:
                    report.uplink.close()
                return
            self._on_report(report)
            if report.uplink is not None or report.is_final:
                return
            self._hint.wait(pause * random.uniform(0.7, 1.3))
            self._hint.clear()
            pause = min(_LAST_PAUSE_S, pause * 2)

    def _attempt(self) -> Report:
        try:
            return Report(open_uplink(self._target, self._ask, _TIMEOUT_S))
        except DevsyncError as exc:
            return Report(None, exc, is_final=not isinstance(exc, _TRANSIENT))
        except Exception as exc:  # noqa: BLE001 - logged and reported
            _log.exception("connecting failed in an unforeseen way")
            return Report(
                None, DevsyncError(f"Connecting failed: {exc!r}."), is_final=True
            )
