"""What a session pulls: the face of it all, on the engine thread and for front ends.

The worker does the work; here its rules and its link are kept current, its news are
told, and a person is warned when files wait on a VM that cannot be reached.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

from ...core.config import Config
from ...core.events import Emit, OnProgress, Problem, PullsChanged, PullsInDanger
from ...core.pulls import PullInfo, PullResult
from ...errors import ConfigError, DevsyncError, connection_closed
from ..loop import EngineLoop
from ..reach import Reach
from ..uplink import Uplink
from .job import PullJob
from .leftovers import clear_all
from .record import Record
from .worker import Worker

WARN_S = 60.0  # without a link, while files wait
_FORGET_S = 600.0  # without a link: the VM does not answer


class Pulls:
    """Any thread may call what is public, but `look` is the engine thread's."""

    def __init__(self, root: Path, loop: EngineLoop, reach: Reach, emit: Emit) -> None:
        self._root = root
        self._loop = loop
        self._reach = reach
        self._emit = emit
        self._worker: Worker | None = None
        self._record: Record | None = None
        self._told: tuple[PullInfo, ...] = ()
        self._uplink: Uplink | None = None
        self._used: tuple[object, ...] = ()
        self._online_at: float | None = None
        self._is_wanted = False  # the link, by anybody
        self._is_warned = self._is_closed = self._is_cleared = False
        self.warn_s = WARN_S

    @property
    def snapshot(self) -> tuple[PullInfo, ...]:
        """How each rule stands. At once."""
        worker = self._worker
        told = worker.snapshot if worker is not None else ()
        # The worker learns a little later how the link is.
        if self._reach.uplink is None:
            return tuple(replace(one, state="offline") for one in told)
        return tuple(
            replace(one, state="watching") if one.state == "offline" else one
            for one in told
        )

    @property
    def is_started(self) -> bool:
        """There has been a link, so `snapshot` knows what is here."""
        return self._worker is not None

    @property
    def problems(self) -> tuple[Problem, ...]:
        worker = self._worker
        return worker.problems if worker is not None else ()

    @property
    def is_in_use(self) -> bool:
        """Whether files may come, though nobody looks: the VM answered lately."""
        online_at = self._online_at
        if online_at is None or not self.snapshot:
            return False
        return time.monotonic() - online_at < _FORGET_S

    @property
    def record(self) -> Record | None:
        """What was pulled; None before the first link."""
        return self._record

    def pull(
        self,
        name: str | None = None,
        *,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
    ) -> Future[PullResult]:
        """Fetches everything that is finished on the VM now, of one rule or of all.
        Connects if needed. ConfigError, NotPulled, LinkError, AgentError."""

        def work(future: Future[PullResult]) -> None:
            def then(error: DevsyncError | None) -> None:
                if error is not None:
                    future.set_exception(error)
                    return
                self.look()
                assert self._reach.config is not None
                names = _chosen(self._reach.config, name)
                worker = self._worker
                assert worker is not None
                job = PullJob(future, names, progress, cancel)
                worker.post(lambda: worker.pull(job))

            self._reach.when_online(_guarded(then, future))

        return self._loop.submit(work)

    def close(self) -> None:
        """Ends its threads; what is half here is kept for another time."""
        self._is_closed = True
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()
        if self._record is not None:
            self._record.close()
            self._record = None

    # --- the engine thread --------------------------------------------------------

    def look(self) -> None:
        """After every batch of steps: another link, other rules, news?"""
        self._follow_reach()
        worker = self._worker
        if worker is None:
            return
        with worker.events_lock:
            events, worker.events = worker.events, []
        for event in events:
            self._emit(event)
        if (told := self.snapshot) != self._told:
            self._told = told
            self._emit(PullsChanged(self._told))

    def _follow_reach(self) -> None:
        reach, uplink = self._reach, self._reach.uplink
        config = reach.config
        if uplink is not None:
            self._online_at = time.monotonic()
        if config is None or reach.store is None or self._is_closed:
            return
        if self._worker is None:
            if uplink is None:
                return
            if not config.pull:
                self._clear_up(reach.store.folder)
                return
            self._start(reach.store.folder)
        worker = self._worker
        assert worker is not None
        if uplink is not None and (config.pull, uplink.vm.root) != self._used:
            self._used = (config.pull, uplink.vm.root)
            rules, root = config.pull, uplink.vm.root
            worker.post(lambda: worker.use(rules, root))
        if self._is_wanted and not reach.is_wanted:
            error = connection_closed(reach.message)
            worker.post(lambda: worker.give_up(error))
        self._is_wanted = reach.is_wanted
        if uplink is not self._uplink:
            self._uplink = uplink
            worker.post(lambda: worker.link(uplink))
            self._is_warned = False
            if uplink is None:
                self._loop.after(self.warn_s, lambda: self._warn(self._online_at))

    def _clear_up(self, folder: Path) -> None:
        """There is no rule; there may have been some."""
        if not self._is_cleared:
            self._is_cleared = True
            clear_all(self._root, folder)

    def _start(self, folder: Path) -> None:
        self._record = Record(folder)
        post = self._loop.post
        self._worker = Worker(
            self._root,
            self._record,
            on_change=lambda: post(lambda: None),
            # What is posted from a step runs after the status was composed.
            when_told=lambda step: post(lambda: post(step)),
        )

    def _warn(self, since: float | None) -> None:
        """Nobody was online since then: what waits may be lost with the VM."""
        if self._uplink is not None or self._is_warned or since != self._online_at:
            return
        waiting = sum(one.waiting for one in self.snapshot)
        if waiting and self._reach.state != "offline":
            self._is_warned = True
            size = sum(one.waiting_bytes for one in self.snapshot)
            names = ", ".join(one.name for one in self.snapshot if one.waiting)
            what = "file waits" if waiting == 1 else "files wait"
            self._emit(
                PullsInDanger(
                    f"{waiting} {what} on the VM ({names}, {size / 1e6:,.0f} MB), and "
                    f"the link has been down for {_duration(self.warn_s)}. If the VM "
                    "is taken away now, they are lost."
                )
            )


def _chosen(config: Config, name: str | None) -> list[str]:
    names = [one.name for one in config.pull]
    if not names:
        raise ConfigError(
            "There is no pull rule in the configuration.",
            'Add one to .colabremote.toml: [[pull]] with remote = "checkpoints".',
        )
    if name is None:
        return names
    if name not in names:
        raise ConfigError(
            f"There is no pull rule {name!r}.", f"There is: {', '.join(names)}."
        )
    return [name]


def _guarded(
    then: Callable[[DevsyncError | None], None], future: Future[PullResult]
) -> Callable[[DevsyncError | None], None]:
    """What `then` raises is the future's."""

    def run(error: DevsyncError | None) -> None:
        try:
            then(error)
        except DevsyncError as exc:
            future.set_exception(exc)

    return run


def _duration(seconds: float) -> str:
    return "a minute" if seconds == 60 else f"{seconds:g} s"
