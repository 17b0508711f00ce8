"""One project and its VM: everything a front end may ask for.

Any thread may call; the work happens on the session's engine thread, one step at a
time. Long operations return futures. The order of its parts: a Connector brings an
Uplink, the Mirror sends through it, surveys and the watcher tell the Mirror where to
look.
"""

from __future__ import annotations

import getpass
import platform
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from ..core.config import Config
from ..core.endpoint import apply_endpoint
from ..core.events import (
    Ask,
    Conflict,
    ConflictsChanged,
    Emit,
    LinkState,
    OnProgress,
    Problem,
    ProblemsChanged,
    Question,
    Status,
    StatusChanged,
    SyncResult,
)
from ..errors import DevsyncError, LinkLost
from ..link import open_link
from ..link.base import Link
from . import places, survey
from .connector import Connector, Report
from .deletions import remember_root
from .files_changed import expand
from .loop import EngineLoop, Timer
from .mirror import Mirror
from .process import ExecSpec, OnOutput, RemoteProcess
from .project import load_project
from .resolve import keep_local, keep_remote
from .store import Store
from .sync_job import SyncJob
from .uplink import Target, Uplink
from .watcher import Watcher

__all__ = ["ExecSpec", "RemoteProcess", "Session"]

_BUSY_S = 300.0  # after this long without activity the link is pinged less often
_AUDIT_S = 300.0
_BLIND_AUDIT_S = 10.0  # without a watcher
_STATUS_S = 0.05  # between two messages that differ only in numbers
_REST_FOR_EXEC_S = 10.0

OnLink = Callable[[DevsyncError | None], None]


class Session:
    def __init__(
        self, root: Path, *, profile: str | None, emit: Emit, ask: Ask
    ) -> None:
        """Reads nothing yet. `emit` is called on the engine thread; it must not block.
        `ask` is called on threads made for it; it may."""
        self.root = root.resolve()
        self.profile = profile
        self._emit = emit
        self._ask = ask
        self._loop = EngineLoop(f"devsync-engine-{self.root.name}", self._after_batch)
        self._config: Config | None = None
        self._endpoint: str | None = None
        self._link: Link | None = None
        self._store: Store | None = None
        self._mirror: Mirror | None = None
        self._watcher: Watcher | None = None
        self._watch_problem: Problem | None = None
        self._connector: Connector | None = None
        self._uplink: Uplink | None = None
        self._state: LinkState = "offline"
        self._message: str | None = None
        self._was_online = False
        self._on_link: list[OnLink] = []
        self._at_rest: list[Callable[[], None]] = []
        self._syncs: list[SyncJob] = []
        self._surveying: list[survey.Findings] | None = None
        self._after_survey: list[Callable[[survey.Findings], None]] = []
        self._survey_again: list[Callable[[survey.Findings], None]] = []
        self._audit: Timer | None = None
        self._active = time.monotonic()
        self._rtt_ms: float | None = None
        self._problems: tuple[Problem, ...] = ()
        self._status = Status(
            folder=str(self.root), name=self.root.name, profile=profile
        )
        self._told = self._status
        self._told_at = 0.0
        self._tell_later: Timer | None = None
        self._loop.start()

    # --- the public face ----------------------------------------------------------

    def connect(self, endpoint: str | None = None) -> Future[Status]:
        """Goes online and starts mirroring; done once the link is up (not synced).
        Idempotent. ConfigError, LinkError, AgentError; transient failures are tried
        again in the background all the same."""

        def work(future: Future[Status]) -> None:
            if endpoint is not None and endpoint != self._endpoint:
                self._go_offline(None)
                self._endpoint, self._config = endpoint, None
            self._when_online(lambda error: _settle(future, error, self._compose))

        return self._loop.submit(work)

    def disconnect(self) -> Future[Status]:
        """Goes offline; what is not sent yet stays known and goes out next time."""

        def work(future: Future[Status]) -> None:
            self._go_offline(None)
            future.set_result(self._compose())

        return self._loop.submit(work)

    def status(self) -> Status:
        """At once, from any thread."""
        return self._status

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
            job = SyncJob(future, check, progress, cancel)
            self._syncs.append(job)
            self._begin_sync(job)

        return self._loop.submit(work)

    def conflicts(self) -> tuple[Conflict, ...]:
        """At once, from any thread."""
        return self._conflicts

    def resolve(self, path: str, keep: Literal["local", "remote"]) -> Future[Conflict]:
        """Ends a conflict. SyncError if there is none or a file changed meanwhile."""

        def work(future: Future[Conflict]) -> None:
            def online(error: DevsyncError | None) -> None:
                mirror = self._mirror
                if error is not None or mirror is None:
                    future.set_exception(error or LinkLost("There is no connection."))
                elif keep == "local":
                    keep_local(mirror, path, future)
                else:
                    keep_remote(mirror, path, future)

            self._when_online(online)

        return self._loop.submit(work)

    def exec(self, spec: ExecSpec, on_output: OnOutput) -> Future[RemoteProcess]:
        """Starts a program on the VM, after what is being mirrored now has arrived
        (ten seconds at most). Connects if needed. RunError, LinkError, AgentError."""

        def work(future: Future[RemoteProcess]) -> None:
            def online(error: DevsyncError | None) -> None:
                if error is not None:
                    future.set_exception(error)
                else:
                    self._when_at_rest(start, _REST_FOR_EXEC_S)

            def start() -> None:
                uplink = self._uplink
                if uplink is None:
                    future.set_exception(LinkLost("The link was lost."))
                    return
                threading.Thread(
                    target=_start_program,
                    args=(uplink, spec, on_output, future),
                    name="devsync-exec-start",
                    daemon=True,
                ).start()

            self._when_online(online)

        return self._loop.submit(work)

    def close(self) -> None:
        """Ends threads and the connection within a second, network dead or not."""
        self._loop.post(self._shut_down)
        self._loop.stop(timeout_s=1.0)

    # --- going online -------------------------------------------------------------

    def _when_online(self, then: OnLink) -> None:
        """Runs `then` once the link is up, or with the reason why it is not."""
        self._active = time.monotonic()
        if self._uplink is not None:
            then(None)
            return
        try:
            self._open()
        except DevsyncError as exc:
            self._state, self._message = "offline", str(exc)
            then(exc)
            return
        self._on_link.append(then)
        if self._connector is None:
            self._start_connector()
        else:
            self._connector.hurry()

    def _open(self) -> None:
        """Reads the configuration and the index, once."""
        if self._config is None:
            self._config = self._read_config()
        if self._store is None:
            self._store = Store(places.project_state_dir(self.root, self.profile))
        if self._mirror is None:
            self._mirror = self._make_mirror(self._config, self._store)

    def _read_config(self) -> Config:
        config = load_project(self.root, self.profile)
        if self._endpoint is not None:
            config = replace(config, link=apply_endpoint(config.link, self._endpoint))
        return config

    def _make_mirror(self, config: Config, store: Store) -> Mirror:
        mirror = Mirror(
            self.root,
            config.sync,
            store,
            self._loop,
            on_mirrored=self._emit,
            on_stale=self._taken_over,
        )
        mirror.conflicts.on_change = self._tell_conflicts
        mirror.deletions.ask = self._ask_delete
        self._tell_conflicts()
        return mirror

    def _start_connector(self) -> None:
        assert self._config is not None
        assert self._store is not None
        config = self._config
        if self._link is None:
            self._link = open_link(
                config.link,
                profile=self.profile,
                state_dir=self._store.folder,
                cache_dir=places.cache_dir(),
                name=config.name,
            )
        target = Target(
            link=self._link,
            python=config.remote.python,
            root=self._link.place(config.remote.root or f"/content/{config.name}"),
            client_id=self._store.client_id,
            shown=f"{getpass.getuser()} on {platform.node()}",
        )
        self._state = "lost" if self._was_online else "connecting"
        self._connector = Connector(
            target,
            self._ask,
            lambda report: self._loop.post(partial(self._reported, report)),
        )
        self._connector.start()

    def _reported(self, report: Report) -> None:
        """One attempt of the connector ended."""
        if self._connector is None:  # told to stop meanwhile
            if report.uplink is not None:
                report.uplink.close()
            return
        if report.uplink is not None:
            self._connector = None
            self._online(report.uplink)
            return
        assert report.error is not None
        self._message = str(report.error)
        if report.is_final:
            self._connector = None
            self._state = "blocked"
        waiting, self._on_link = self._on_link, []
        for then in waiting:
            then(report.error)
        if report.is_final:
            self._fail_syncs(report.error)

    def _online(self, uplink: Uplink) -> None:
        assert self._mirror is not None
        assert self._store is not None
        self._uplink = uplink
        self._state, self._message, self._was_online = "online", None, True
        is_new_vm = self._store.get("marker") != uplink.hello.vm.marker
        if is_new_vm:
            self._mirror.forget_vm()
            self._store.set("marker", uplink.hello.vm.marker)
            remember_root(self._mirror)
        if not self._store.known and not uplink.hello.fresh:
            is_new_vm = True
            self._mirror.rules = None  # nothing is sent before we know what is there
        self._mirror.attach(uplink)
        self._mirror.retry_refused()
        self._survey(is_new_vm, lambda found: None)
        uplink.watch(
            is_busy=lambda: time.monotonic() - self._active < _BUSY_S,
            on_rtt=self._note_rtt,
            on_lost=lambda error: self._loop.post(lambda: self._lost(uplink, error)),
        )
        uplink.client.send(
            {"op": "machine"},
            b"",
            lambda reply: self._loop.post(lambda: uplink.note(reply)),
        )
        self._start_watcher()
        waiting, self._on_link = self._on_link, []
        for then in waiting:
            then(None)

    def _note_rtt(self, rtt_s: float) -> None:
        self._loop.post(lambda: setattr(self, "_rtt_ms", round(rtt_s * 1000, 1)))

    # --- going offline ------------------------------------------------------------

    def _lost(self, uplink: Uplink, error: DevsyncError) -> None:
        if uplink is not self._uplink:
            return
        assert self._mirror is not None
        self._uplink = None
        self._rtt_ms = None
        self._mirror.detach()
        self._state, self._message = "lost", str(error)
        self._start_connector()

    def _taken_over(self, reason: str) -> None:
        """A newer connection of the same project owns the root: not ours any more."""
        if self._uplink is not None:
            self._go_offline("blocked")
            self._message = (
                f"Another colab-devsync took the remote folder over ({reason}). "
                "Connect again to take it back."
            )

    def _go_offline(self, state: LinkState | None) -> None:
        if self._connector is not None:
            self._connector.stop()
            self._connector = None
        if self._uplink is not None and self._mirror is not None:
            uplink, self._uplink = self._uplink, None
            self._mirror.detach()
            uplink.close()
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher = None
        self._state, self._message, self._rtt_ms = state or "offline", None, None
        self._was_online = False
        error = LinkLost("The connection was closed.")
        waiting, self._on_link = self._on_link, []
        for then in waiting:
            then(error)
        self._fail_syncs(error)

    def _shut_down(self) -> None:
        self._go_offline(None)
        if self._store is not None:
            self._store.close()
            self._store = self._mirror = None

    def _reload(self) -> None:
        """Takes over a changed configuration; a broken one changes nothing."""
        try:
            config = self._read_config()
        except DevsyncError as exc:
            self._message = str(exc)
            return
        if self._config is None or config == self._config:
            return
        was_wanted = self._uplink is not None or self._connector is not None
        self._go_offline(None)
        self._config = config
        if self._mirror is not None and self._store is not None:
            self._mirror = self._make_mirror(config, self._store)
        if was_wanted:
            self._when_online(lambda error: None)

    # --- hints --------------------------------------------------------------------

    def _saved(self, path: Path, since: float) -> None:
        self._active = time.monotonic()
        if self._connector is not None:
            self._connector.hurry()
        if self._mirror is None:
            return
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
            self._survey(False, lambda found: None)
        for path in expand(self.root, self._mirror.rules, self._mirror.store, paths):
            self._mirror.touched(path, since)

    def _start_watcher(self) -> None:
        assert self._config is not None
        if self._watcher is not None or not self._config.sync.watch:
            return

        def on_paths(paths: list[str]) -> None:
            since = time.monotonic()
            self._loop.post(lambda: self._look_at(paths, since))

        self._watcher = Watcher(
            self.root,
            on_paths=on_paths,
            on_gap=lambda problem: self._loop.post(partial(self._gap, problem)),
        )
        self._watcher.start()

    def _gap(self, problem: Problem | None) -> None:
        """The watcher may have missed something."""
        self._watch_problem = problem
        self._survey(False, lambda found: None)

    # --- surveys ------------------------------------------------------------------

    def _survey(self, is_new_vm: bool, then: Callable[[survey.Findings], None]) -> None:
        """Compares everything; `then` runs on the engine thread. One at a time: what
        is asked for during a survey gets a fresh one."""
        assert self._mirror is not None
        assert self._config is not None
        if self._surveying is not None:
            self._survey_again.append(then)
            return
        self._surveying = []
        self._after_survey = [then]
        if self._audit is not None:
            self._audit.cancel()
        store, uplink, mirror = self._mirror.store, self._uplink, self._mirror
        brief = survey.Brief(
            root=self.root,
            sync=self._config.sync,
            known=dict(store.known),
            digest=store.digest,
            client=uplink.client if uplink else None,
            is_new_vm=is_new_vm,
            is_fresh_root=uplink.hello.fresh if uplink else True,
        )
        survey.start(
            brief,
            lambda found: self._loop.post(
                lambda: self._surveyed(found, mirror, uplink)
            ),
        )

    def _surveyed(
        self, found: survey.Findings, mirror: Mirror, uplink: Uplink | None
    ) -> None:
        self._surveying = None
        waiting, self._after_survey = self._after_survey, []
        again, self._survey_again = self._survey_again, []
        if mirror is self._mirror:
            is_check = any(job.check for job in self._syncs if not job.surveyed)
            if not is_check:
                mirror.apply(found, torn=uplink is not None and uplink.hello.torn)
            for then in waiting:
                then(found)
            blind = self._watch_problem is not None or not mirror_watches(self._config)
            self._audit = self._loop.after(
                _BLIND_AUDIT_S if blind else _AUDIT_S, self._do_audit
            )
        if again and self._mirror is not None:
            self._survey(False, lambda new: _call_all(again, new))

    def _do_audit(self) -> None:
        if self._uplink is not None and self._mirror is not None:
            self._survey(False, lambda found: None)

    def _begin_sync(self, job: SyncJob) -> None:
        def online(error: DevsyncError | None) -> None:
            mirror = self._mirror
            if error is not None or mirror is None:
                job.fail(error or LinkLost("There is no connection."))
                return
            job.before = replace(mirror.total)
            mirror.retry_refused()
            self._survey(False, surveyed)

        def surveyed(found: survey.Findings) -> None:
            if found.failure is not None and not isinstance(found.failure, LinkLost):
                job.fail(found.failure)
            elif found.failure is not None or self._mirror is None:
                self._begin_sync(job)  # the link went down meanwhile: once more
            elif job.check:
                job.compare(self._mirror, found)
            else:
                job.surveyed = True

        self._when_online(online)

    def _fail_syncs(self, error: DevsyncError) -> None:
        for job in self._syncs:
            job.fail(error)

    # --- after every batch of steps -----------------------------------------------

    def _after_batch(self) -> None:
        mirror = self._mirror
        if mirror is not None:
            mirror.pump()
            if self._syncs:
                self._advance_syncs(mirror)
            if self._at_rest and mirror.is_at_rest() and self._surveying is None:
                waiting, self._at_rest = self._at_rest, []
                for then in waiting:
                    then()
        self._tell()

    def _advance_syncs(self, mirror: Mirror) -> None:
        for job in self._syncs:
            if job.is_over():
                continue
            job.report(mirror)
            if job.surveyed and mirror.is_at_rest():
                job.finish(mirror)
        self._syncs = [job for job in self._syncs if not job.is_over()]
        if any(job.cancel for job in self._syncs):
            self._loop.after(0.1, lambda: None)  # looks at the cancel events again

    def _when_at_rest(self, then: Callable[[], None], limit_s: float) -> None:
        done: list[bool] = []

        def once() -> None:
            if not done:
                done.append(True)
                then()

        self._at_rest.append(once)
        self._loop.after(limit_s, once)

    # --- telling ------------------------------------------------------------------

    def _ask_delete(
        self, why: str, paths: Sequence[str], answer: Callable[[bool], None]
    ) -> None:
        shown = ", ".join(paths[:5]) + (", …" if len(paths) > 5 else "")
        question = Question(
            "mass-delete",
            f"Delete {len(paths)} files on the VM ({shown})? They are gone here, but "
            f"{why}.",
            ("yes", "no"),
            safe="no",
        )

        def run() -> None:
            yes = self._ask(question) == "yes"
            self._loop.post(lambda: answer(yes))

        threading.Thread(target=run, name="devsync-ask", daemon=True).start()

    @property
    def _conflicts(self) -> tuple[Conflict, ...]:
        mirror = self._mirror
        return tuple(mirror.conflicts) if mirror is not None else ()

    def _tell_conflicts(self) -> None:
        self._emit(ConflictsChanged(self._conflicts))

    def _compose(self) -> Status:
        mirror, uplink = self._mirror, self._uplink
        return Status(
            folder=str(self.root),
            name=self._config.name if self._config else self.root.name,
            link=self._state,
            target=self._link.label if self._link else "",
            profile=self.profile,
            rtt_ms=self._rtt_ms,
            pending=mirror.pending() if mirror else 0,
            files=len(mirror.store.known) if mirror else 0,
            conflicts=len(mirror.conflicts) if mirror else 0,
            vm=uplink.vm if uplink else None,
            message=self._message,
            problems=self._compose_problems(mirror),
        )

    def _compose_problems(self, mirror: Mirror | None) -> tuple[Problem, ...]:
        found = list(mirror.all_problems()) if mirror else []
        if self._watch_problem is not None:
            found.append(self._watch_problem)
        return tuple(found)

    def _tell(self) -> None:
        """Emits what changed; mere numbers are told twenty times a second at most."""
        status = self._status = self._compose()
        if status.problems != self._problems:
            self._problems = status.problems
            self._emit(ProblemsChanged(status.problems))
        if status == self._told:
            return
        is_news = (status.link, status.conflicts, status.message) != (
            self._told.link,
            self._told.conflicts,
            self._told.message,
        )
        wait = self._told_at + _STATUS_S - time.monotonic()
        if is_news or wait <= 0:
            self._told, self._told_at = status, time.monotonic()
            self._emit(StatusChanged(status))
        elif self._tell_later is None:
            self._tell_later = self._loop.after(wait, self._forget_timer)

    def _forget_timer(self) -> None:
        self._tell_later = None


def _call_all(
    waiting: list[Callable[[survey.Findings], None]], found: survey.Findings
) -> None:
    for then in waiting:
        then(found)


def mirror_watches(config: Config | None) -> bool:
    return config is not None and config.sync.watch


def _settle(
    future: Future[Status], error: DevsyncError | None, compose: Callable[[], Status]
) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(compose())


def _start_program(
    uplink: Uplink, spec: ExecSpec, on_output: OnOutput, future: Future[RemoteProcess]
) -> None:
    try:
        process = RemoteProcess(uplink.open_stream(), on_output)
        process.start(spec)
    except DevsyncError as exc:
        future.set_exception(exc)
    else:
        future.set_result(process)
