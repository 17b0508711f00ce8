"""One project and its VM: everything a front end may ask for.

Any thread may call; the work happens on the session's engine thread, one step at a
time. Long operations return futures. The parts: Reach brings an Uplink, the Mirror
sends through it, the Surveyor and the Watcher tell the Mirror where to look.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Literal

from ..core.config import CONFIG_NAME, Config
from ..core.events import (
    Ask,
    Conflict,
    ConflictsChanged,
    Emit,
    OnProgress,
    Problem,
    Status,
    SyncResult,
)
from ..errors import DevsyncError, LinkLost
from ..link.providers import OpenLink, open_link
from . import survey
from .deletions import ask_elsewhere, remember_root
from .files_changed import expand
from .loop import EngineLoop
from .mirror import Mirror
from .process import ExecSpec, OnOutput, RemoteProcess, start_program
from .reach import Reach
from .resolve import end_conflict
from .surveyor import Surveyor
from .sync_job import SyncJob, Syncs
from .teller import Teller
from .uplink import Uplink
from .watcher import Watcher

__all__ = ["ExecSpec", "RemoteProcess", "Session"]

_REST_FOR_EXEC_S = 10.0


class Session:
    def __init__(
        self,
        root: Path,
        *,
        profile: str | None,
        emit: Emit,
        ask: Ask,
        open_link: OpenLink = open_link,
    ) -> None:
        """Reads nothing yet. `emit` is called on the engine thread; it must not block.
        `ask` is called on threads made for it; it may. `open_link`: another way to
        the VM than the configuration's provider."""
        self.root = root.resolve()
        self._profile = profile
        self._emit = emit
        self._ask = ask
        self._loop = EngineLoop(
            f"devsync-engine-{self.root.name}", self._after_batch, self._step_failed
        )
        self._reach = Reach(
            self.root, profile, self._loop, ask, self, open_link=open_link
        )
        self._surveyor = Surveyor(self._loop, self._brief, self._apply)
        self._mirror: Mirror | None = None
        self._watcher: Watcher | None = None
        self._watch_problem: Problem | None = None
        self._is_new_vm = False
        self._syncs = Syncs(self._loop)
        self._teller = Teller(emit, self._loop, self._compose())
        self._loop.start()

    # --- the public face ----------------------------------------------------------

    def connect(self, endpoint: str | None = None) -> Future[Status]:
        """Goes online and starts mirroring; done once the link is up (not synced).
        Idempotent. ConfigError, LinkError, AgentError; transient failures are tried
        again in the background all the same."""

        def work(future: Future[Status]) -> None:
            def then(error: DevsyncError | None) -> None:
                if error is not None:
                    future.set_exception(error)
                else:
                    future.set_result(self._compose())

            self._reach.use_endpoint(endpoint)
            self._reach.when_online(then)

        return self._loop.submit(work)

    def forget_host_key(self) -> Future[None]:
        """The next connect asks about the VM's host key anew."""

        def work(future: Future[None]) -> None:
            self._go_offline()
            self._reach.forget_host_key()
            future.set_result(None)

        return self._loop.submit(work)

    def disconnect(self) -> Future[Status]:
        """Goes offline; what is not sent yet goes out when it is online again."""

        def work(future: Future[Status]) -> None:
            self._go_offline()
            future.set_result(self._compose())

        return self._loop.submit(work)

    def status(self) -> Status:
        """At once, from any thread."""
        return self._teller.status

    def saved(self, path: Path) -> None:
        """A hint: an editor wrote this file. Never blocks, never fails."""
        since = time.monotonic()
        self._loop.post(lambda: self._saved(path, since))

    def config_changed(self) -> None:
        """`.colabremote.toml` was saved: rereads it, reconnects if it is online."""
        self._loop.post(self._reload)

    def sync(
        self,
        *,
        check: bool = False,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
    ) -> Future[SyncResult]:
        """Connects if needed, compares everything, sends, waits for all answers.
        UnsafePlan when deletions were not confirmed, NotFlushed when files failed."""

        def work(future: Future[SyncResult]) -> None:
            self._begin(SyncJob(future, check, progress, cancel))

        return self._loop.submit(work)

    def conflicts(self) -> tuple[Conflict, ...]:
        """At once, from any thread."""
        mirror = self._mirror
        return mirror.conflicts.snapshot if mirror is not None else ()

    def resolve(self, path: str, keep: Literal["local", "remote"]) -> Future[Conflict]:
        """Ends a conflict. SyncError if there is none or a file changed meanwhile."""

        def work(future: Future[Conflict]) -> None:
            def then(error: DevsyncError | None) -> None:
                mirror = self._mirror
                if error is not None or mirror is None:
                    future.set_exception(error or LinkLost("There is no connection."))
                    return
                end_conflict(mirror, path, keep, self._syncs.when_at_rest, future)

            self._reach.when_online(then)

        return self._loop.submit(work)

    def exec(self, spec: ExecSpec, on_output: OnOutput) -> Future[RemoteProcess]:
        """Starts a program on the VM, after what is being mirrored now has arrived
        (ten seconds at most). Connects if needed. RunError, LinkError, AgentError."""

        def work(future: Future[RemoteProcess]) -> None:
            def start() -> None:
                full = spec.with_env(self._reach.remote_env)
                start_program(self._reach.open_stream, full, on_output, future)

            def then(error: DevsyncError | None) -> None:
                if error is not None:
                    future.set_exception(error)
                else:
                    self._syncs.when_at_rest(start, _REST_FOR_EXEC_S)

            self._reach.when_online(then)

        return self._loop.submit(work)

    def close(self) -> None:
        """Ends threads and the connection within a second, network dead or not."""

        def work() -> None:
            self._go_offline()
            self._mirror = None
            self._reach.close()

        self._loop.post(work)
        self._loop.stop(timeout_s=1.0)

    # --- the link -----------------------------------------------------------------

    def went_online(self, uplink: Uplink) -> None:
        """Reach has an uplink: look around, send what is due."""
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
        self._surveyor.start()
        self._start_watcher()

    def went_offline(self) -> None:
        """Reach lost its uplink; it tries again by itself."""
        if self._mirror is not None:
            self._mirror.detach()

    def _open_mirror(self) -> Mirror:
        if self._mirror is None:
            assert self._reach.config is not None
            assert self._reach.store is not None
            self._mirror = Mirror(
                self.root,
                self._reach.config.sync,
                self._reach.store,
                self._loop,
                on_mirrored=self._emit,
                on_stale=self._taken_over,
            )
            self._mirror.conflicts.on_change = self._tell_conflicts
            self._mirror.deletions.ask = partial(ask_elsewhere, self._ask, self._loop)
            self._tell_conflicts()
        return self._mirror

    def _taken_over(self, reason: str) -> None:
        """A newer connection of the same project owns the root: not ours any more."""
        if self._reach.uplink is not None:
            self._go_offline()
            self._reach.block(
                f"Another colab-devsync took the remote folder over ({reason}). "
                "Connect again to take it back."
            )

    def _go_offline(self) -> None:
        self._reach.go_offline()
        self._surveyor.stop_audits()
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher = None
        self._syncs.fail(LinkLost("The connection was closed."))

    def _reload(self) -> None:
        """Takes over a changed configuration; a broken one changes nothing."""
        try:
            self.use_config(self._reach.read_config())
        except DevsyncError as exc:
            self._reach.message = str(exc)

    def use_config(self, config: Config) -> None:
        """Reconnects if the way to the VM changed, compares if the rules did."""
        reach, old = self._reach, self._reach.config
        if old is None or config == old:
            return
        same_place = (config.name, config.remote) == (old.name, old.remote)
        if same_place and config.link == old.link:
            reach.config = config
            if self._mirror is not None:
                self._mirror.use(config.sync)
                self._surveyor.start()
            return
        was_wanted, jobs = reach.is_wanted, self._syncs.take()
        self._go_offline()
        reach.config, self._mirror = config, None
        if was_wanted:
            reach.when_online(lambda error: None)
        for job in jobs:
            self._begin(job)

    # --- hints --------------------------------------------------------------------

    def _saved(self, path: Path, since: float) -> None:
        self._reach.note_activity()
        try:
            inside = path.relative_to(self.root)
        except ValueError:
            try:
                inside = path.resolve().relative_to(self.root)
            except (ValueError, OSError):
                return  # not a file of this project
        self._look_at([inside.as_posix()], since)

    def _look_at(self, paths: list[str], since: float) -> None:
        """Hints from the editor or the watcher: files, folders, rules."""
        if self._mirror is None or self._mirror.rules is None:
            return  # the first survey finds everything
        if any(path.rpartition("/")[2] == ".gitignore" for path in paths):
            self._surveyor.start()
        if CONFIG_NAME in paths:
            self._reload()
        rules, store = self._mirror.rules, self._mirror.store
        for path, stat in expand(self.root, rules, store, paths):
            self._mirror.touched(path, since, stat)

    def _start_watcher(self) -> None:
        assert self._reach.config is not None
        self._surveyor.is_blind = not self._reach.config.sync.watch
        if self._watcher is not None or self._surveyor.is_blind:
            return

        def on_paths(paths: list[str]) -> None:
            since = time.monotonic()
            self._loop.post(lambda: self._look_at(paths, since))

        self._watcher = Watcher(
            self.root,
            on_paths=on_paths,
            on_gap=lambda problem: self._loop.post(partial(self._note_gap, problem)),
        )
        self._watcher.start()

    def _note_gap(self, problem: Problem | None) -> None:
        """The watcher may have missed something."""
        self._watch_problem = problem
        self._surveyor.is_blind = problem is not None
        self._surveyor.start()

    # --- surveys ------------------------------------------------------------------

    def _brief(self) -> survey.Brief:
        assert self._reach.config is not None
        mirror, uplink = self._open_mirror(), self._reach.uplink
        is_new, self._is_new_vm = self._is_new_vm, False
        return survey.Brief(
            root=self.root,
            config=self._reach.config,
            known=dict(mirror.store.known),
            digest=mirror.store.digest,
            client=uplink.client if uplink else None,
            is_new_vm=is_new,
            is_fresh_root=uplink is None or uplink.hello.fresh,
        )

    def _apply(self, found: survey.Findings) -> None:
        """A check only looks: unless somebody else sends, nothing is taken over."""
        uplink = self._reach.uplink
        if self._mirror is None or self._syncs.is_checking:
            return
        self._mirror.apply(found, torn=uplink is not None and uplink.hello.torn)

    def _begin(self, job: SyncJob) -> None:
        self._syncs.begin(job, self._reach, self._surveyor, self._open_mirror)

    def _after_batch(self) -> None:
        if self._mirror is not None:
            self._mirror.pump()
        # Told first, so that who waits for a sync finds its status current.
        self._teller.tell(self._compose())
        if self._mirror is not None:
            self._syncs.advance(self._mirror, self._surveyor.is_at_work)

    def _step_failed(self, exc: Exception) -> None:
        """A bug: whoever waits learns of it instead of waiting for ever."""
        error = DevsyncError(
            f"colab-devsync failed inside: {exc!r}.", "See the log file."
        )
        self._syncs.fail(error)
        self._reach.message = str(error)

    # --- telling ------------------------------------------------------------------

    def _tell_conflicts(self) -> None:
        self._emit(ConflictsChanged(self.conflicts()))

    def _compose(self) -> Status:
        mirror, reach = self._mirror, self._reach
        problems = list(mirror.all_problems()) if mirror else []
        if self._watch_problem is not None:
            problems.append(self._watch_problem)
        return Status(
            folder=str(self.root),
            name=reach.config.name if reach.config else self.root.name,
            link=reach.state,
            target=reach.label,
            profile=self._profile,
            rtt_ms=reach.rtt_ms,
            pending=mirror.pending() if mirror else 0,
            files=len(mirror.store.known) if mirror else 0,
            conflicts=len(mirror.conflicts) if mirror else 0,
            vm=reach.uplink.vm if reach.uplink else None,
            message=reach.message,
            problems=tuple(problems),
        )
