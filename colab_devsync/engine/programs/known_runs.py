"""What is known of the VM's runs, from whoever heard of them last. Engine thread only,
but for `snapshot`, which any thread may read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from ...core.runs import RunInfo

_SHOWN = 30  # ended runs


class KnownRuns:
    """`on_change` is told when a run that concerns us began, ended, or got its port."""

    def __init__(self, on_change: Callable[[RunInfo], None]) -> None:
        self._on_change = on_change
        self._known: dict[str, RunInfo] = {}
        self._shown: set[str] = set()  # that ran while we looked
        self._marker = ""  # of the VM they are on
        self.highest = 0  # of the numbers in their names
        self.snapshot: tuple[RunInfo, ...] = ()

    @property
    def running(self) -> set[str]:
        """Ids."""
        return {run.id for run in self._known.values() if run.state == "running"}

    def show(self, run_id: str) -> None:
        """This one is ours, even if it has ended already when we hear of it."""
        self._shown.add(run_id)

    def use_vm(self, marker: str) -> None:
        """Online: those we know are on this VM, if we did not know one before."""
        self._marker = self._marker or marker

    def note(self, info: RunInfo) -> None:
        """How a run stands."""
        self.highest = max(self.highest, int(info.id.rpartition("-")[2]))
        before = self._known.get(info.id)
        if before is not None and before.state != "running" == info.state:
            return  # older news
        self._known[info.id] = info
        if info.state == "running":
            self.show(info.id)
        if info.id not in self._shown:
            return
        self._compose()
        if before is None or (before.state, before.port) != (info.state, info.port):
            self._on_change(info)

    def take(self, infos: Iterable[RunInfo], expected: set[str], marker: str) -> None:
        """The list of the VM with this marker; what of `expected` is not in it is
        lost."""
        found = {info.id for info in infos}
        why = "the VM was replaced" if marker != self._marker else "the VM forgot it"
        self._marker = marker
        for run_id in expected - found:
            known = self._known[run_id]
            if known.state == "running":
                self.note(replace(known, state="lost", message=why))
        for info in infos:
            self.note(info)
        for run_id in self._known.keys() - found - self._shown:
            del self._known[run_id]  # its logs were removed

    def _compose(self) -> None:
        runs = [run for run in self._known.values() if run.id in self._shown]
        runs.sort(key=lambda run: (run.started, run.id))
        ended = [run.id for run in runs if run.state != "running"]
        self._shown.difference_update(ended[:-_SHOWN])
        self.snapshot = tuple(run for run in runs if run.id in self._shown)
