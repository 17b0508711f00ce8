"""The project's files, kept the same on the VM: mirror, surveys, watcher, hints.

On the engine thread. The Surveyor and the Watcher tell the Mirror where to look, the
Mirror sends through the Uplink that Reach brought. What goes over the link besides
files is the session's business.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Protocol

from ...agent import hashing
from ...core.config import CONFIG_NAME, Config
from ...core.config.schema import SyncConfig
from ...core.events import (
    Ask,
    Conflict,
    ConflictsChanged,
    Emit,
    OnProgress,
    Problem,
    SyncResult,
)
from ...errors import DevsyncError
from ..loop import EngineLoop
from ..reach import Reach
from ..uplink import Uplink
from . import survey
from .deletions import ask_elsewhere, remember_root
from .files_changed import WholeTree, expand
from .mirror import Mirror
from .surveyor import Surveyor
from .sync_job import SyncJob, Syncs
from .watcher import Watcher

_TREE_PAUSE_S, _TREE_LATEST_S = 1.0, 5.0  # after a tree was moved in
_GREETING_S = 2.0  # so long its digest is the present


class Owner(Protocol):
    """What the session does about what is found here."""

    def taken_over(self, reason: str) -> None: ...
    def reload(self) -> None: ...


class Files:
    """Of one session."""

    def __init__(
        self,
        root: Path,
        loop: EngineLoop,
        reach: Reach,
        owner: Owner,
        *,
        emit: Emit,
        ask: Ask,
    ) -> None:
        self._root = root
        self._loop = loop
        self._reach = reach
        self._owner = owner
        self._emit = emit
        self._ask = ask
        self._surveyor = Surveyor(loop, self._brief, self._apply, self._apply_early)
        self._surveyed: Config | None = None  # the survey that runs follows this one
        self._watcher: Watcher | None = None
        self._is_new_vm = False
        self._greeting = (0.0, "")  # when the VM last greeted, and its digest then
        self.mirror: Mirror | None = None  # from the first connect on
        self.syncs = Syncs(loop)
        self._tree_due: float | None = None  # a tree was moved in; look again by then
        self._saved_early: dict[str, float] = {}  # before there were rules; when
        self.watch_problem: Problem | None = None

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        """At once, from any thread."""
        mirror = self.mirror
        return mirror.conflicts.snapshot if mirror is not None else ()

    # --- the link -----------------------------------------------------------------

    def went_online(self, uplink: Uplink) -> None:
        """Looks around, sends what is due."""
        mirror = self._open_mirror()
        store, hello = mirror.store, uplink.hello
        self._is_new_vm = store.get("marker") != hello.vm.marker
        if self._is_new_vm:
            mirror.forget_vm()
            store.set("marker", hello.vm.marker)
            remember_root(mirror)
        if not store.known and not hello.fresh:
            self._is_new_vm = True
            mirror.rules = None  # nothing is sent before we know what is there
        if self._is_new_vm:
            uplink.bulk.open()  # while the survey runs
        mirror.attach(uplink)
        mirror.retry_refused()
        self._greeting = (time.monotonic(), hello.digest)
        self._surveyor.start()
        self._start_watcher()

    def went_offline(self) -> None:
        """For a moment: the watcher goes on."""
        if self.mirror is not None:
            self.mirror.detach()

    def stop(self, error: DevsyncError) -> None:
        """Nobody wants the link any more; `error` for who waits for a sync."""
        self._surveyor.stop_audits()
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher = None
        self.syncs.fail(error)

    def forget(self) -> None:
        """The next link leads somewhere else, or there is none."""
        self.mirror = self._tree_due = None

    def _open_mirror(self) -> Mirror:
        if self.mirror is None:
            assert self._reach.config is not None
            assert self._reach.store is not None
            self.mirror = Mirror(
                self._root,
                self._reach.config.sync,
                self._reach.store,
                self._loop,
                on_mirrored=self._emit,
                on_stale=self._owner.taken_over,
            )
            self.mirror.conflicts.on_change = self._tell_conflicts
            self.mirror.deletions.ask = partial(ask_elsewhere, self._ask, self._loop)
            self._tell_conflicts()
        return self.mirror

    def _tell_conflicts(self) -> None:
        self._emit(ConflictsChanged(self.conflicts))

    # --- hints --------------------------------------------------------------------

    def saved(self, path: Path, since: float) -> None:
        """An editor wrote this file; `since` is the monotonic time of that."""
        self._reach.note_activity()
        try:
            inside = path.relative_to(self._root)
        except ValueError:
            try:
                inside = path.resolve().relative_to(self._root)
            except (ValueError, OSError):
                return  # not a file of this project
        if self.mirror is not None and self.mirror.rules is None:
            # The survey finds the file, but does not know that somebody waits for it.
            self._saved_early[inside.as_posix()] = since
        self._look_at([inside.as_posix()], since)

    def use(self, sync: SyncConfig) -> None:
        """Other rules from now on."""
        if self.mirror is not None:
            self.mirror.use(sync)
            self._surveyor.start()

    def _look_at(self, paths: list[str], since: float) -> None:
        """Hints from the editor or the watcher: files, folders, rules."""
        if self.mirror is None or self.mirror.rules is None:
            return  # the first survey finds everything
        if any(path.rpartition("/")[2] == ".gitignore" for path in paths):
            self._surveyor.start()
        if CONFIG_NAME in paths:
            self._owner.reload()
        # The configuration may just have taken both away.
        mirror = self.mirror
        if mirror is None or mirror.rules is None:
            return
        for path in expand(self._root, mirror.rules, mirror.store, paths):
            if isinstance(path, WholeTree):
                self._survey_soon()
            else:
                mirror.touched(path, since)

    def _survey_soon(self) -> None:
        """A whole tree was moved in. A survey that runs may have passed there, but has
        seen most of it: that shall be on the VM before the next one walks again."""
        if self._tree_due is None:
            self._tree_due = time.monotonic() + _TREE_LATEST_S
            self._survey_at_rest()

    def _survey_at_rest(self) -> None:
        mirror, due = self.mirror, self._tree_due
        if mirror is None or due is None:
            return
        is_busy = self._surveyor.is_at_work or not mirror.is_at_rest()
        if is_busy and time.monotonic() < due:
            self._loop.after(_TREE_PAUSE_S, self._survey_at_rest)
            return
        self._tree_due = None
        self._surveyor.start(is_local=self._is_settled())

    def _start_watcher(self) -> None:
        assert self._reach.config is not None
        self._surveyor.is_blind = not self._reach.config.sync.watch
        if self._watcher is not None or self._surveyor.is_blind:
            return

        def on_paths(paths: list[str]) -> None:
            since = time.monotonic()
            self._loop.post(lambda: self._look_at(paths, since))

        self._watcher = Watcher(
            self._root,
            on_paths=on_paths,
            on_gap=lambda problem: self._loop.post(partial(self._note_gap, problem)),
        )
        self._watcher.start()

    def _note_gap(self, problem: Problem | None) -> None:
        """The watcher may have missed something."""
        self.watch_problem = problem
        self._surveyor.is_blind = problem is not None
        self._surveyor.start()

    # --- surveys and syncs --------------------------------------------------------

    def begin(self, job: SyncJob) -> None:
        """A `sync` that somebody waits for."""
        self.syncs.begin(job, self._reach, self._surveyor, self._open_mirror)

    def flush(
        self,
        future: Future[str],
        *,
        trust: bool,
        progress: OnProgress | None,
        cancel: threading.Event | None,
    ) -> None:
        """A sync for `future`; see Session.flush."""
        job = SyncJob(Future(), False, progress, cancel)
        job.is_trusting = trust and self._is_settled()

        def done(synced: Future[SyncResult]) -> None:  # on the engine thread
            error = synced.exception()
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(self._digest() if job.is_trusting else "")

        job.future.add_done_callback(done)
        self.begin(job)

    def _is_settled(self) -> bool:
        """Whether the VM, left alone, holds exactly what we know of it."""
        mirror, config = self.mirror, self._reach.config
        if mirror is None or mirror.rules is None or config is None:
            return False
        is_new = self._is_new_vm or self._reach.uplink is None
        return not (is_new or mirror.conflicts or config.sync.mode == "replica")

    def _digest(self) -> str:
        assert self.mirror is not None
        return hashing.as_text(self.mirror.store.digest)

    def pump(self) -> None:
        """After every batch of steps: sends what can be sent now."""
        if self.mirror is not None:
            self.mirror.pump()

    def advance_syncs(self) -> None:
        """After that, when the status has been told."""
        if self.mirror is not None:
            self.syncs.advance(self.mirror, self._surveyor.is_at_work)

    def _brief(self, is_local: bool) -> survey.Brief:
        assert self._reach.config is not None
        self._surveyed = self._reach.config
        mirror, uplink = self._open_mirror(), self._reach.uplink
        if is_local:
            return survey.Brief(
                root=self._root,
                config=self._reach.config,
                known=dict(mirror.store.known),
            )
        is_new, self._is_new_vm = self._is_new_vm, False
        (since, held), self._greeting = self._greeting, (0.0, "")
        return survey.Brief(
            root=self._root,
            config=self._reach.config,
            known=dict(mirror.store.known),
            digest=mirror.store.digest,
            client=uplink.client if uplink else None,
            is_new_vm=is_new,
            is_fresh_root=uplink is None or uplink.hello.fresh,
            greeting=held if time.monotonic() - since < _GREETING_S else "",
        )

    def _apply_early(self, changed: survey.Changed) -> None:
        """While the survey goes on: no need to wait for its end."""
        is_current = self._surveyed is self._reach.config
        if self.mirror is not None and is_current and not self.syncs.is_checking:
            self.mirror.apply_early(changed)

    def _apply(self, found: survey.Findings) -> None:
        """A check only looks: unless somebody else sends, nothing is taken over."""
        uplink = self._reach.uplink
        if self.mirror is None or self.syncs.is_checking:
            return
        self.mirror.apply(found, torn=uplink is not None and uplink.hello.torn)
        saved, self._saved_early = self._saved_early, {}
        for path, since in saved.items():
            self._look_at([path], since)
