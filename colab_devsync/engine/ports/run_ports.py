"""Forwards that belong to runs: opened for one, closed when it has ended and nobody
is connected any more, for its last messages are on their way then.

`open` blocks and is for any thread but the engine's; `look` is the engine thread's.
"""

from __future__ import annotations

import threading

from ...core.runs import ForwardInfo, RunInfo
from ..programs.runs import Runs
from .forwards import Forwards

_OPEN_S = 30.0


class RunPorts:
    def __init__(self, runs: Runs, forwards: Forwards) -> None:
        self._runs = runs
        self._forwards = forwards
        self._lock = threading.Lock()
        self._ports: dict[str, int] = {}  # run id: local port

    def open(self, run: RunInfo, local_port: int = 0) -> ForwardInfo:
        """A local port that leads to the run's. LinkError, AgentError, DevsyncError."""
        assert run.port is not None
        opening = self._forwards.open(run.port, local_port, name=run.id)
        forward = opening.result(_OPEN_S)
        with self._lock:
            self._ports[run.id] = forward.local_port
        return forward

    def look(self) -> None:
        """After every batch of steps: has one of them ended?"""
        if not self._ports:
            return
        ended = {run.id for run in self._runs.snapshot if run.state != "running"}
        opened = self._forwards.snapshot
        used = {one.local_port for one in opened if one.connections}
        with self._lock:
            for run_id in ended & self._ports.keys():
                if self._ports[run_id] not in used:
                    self._forwards.close(self._ports.pop(run_id))
