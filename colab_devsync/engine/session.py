"""One project and its VM: everything a front end may ask for.

Any thread may call; the work happens on the session's engine thread, one step at a
time. Long operations return futures. The parts: Reach brings an Uplink; Files brings
the project there through it; runs, forwards, debugger and the rest use it too.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ..core.config import Config
from ..core.events import Ask, Conflict, Emit, OnProgress, Status, SyncResult
from ..errors import DevsyncError, LinkLost, connection_closed
from ..link.providers import OpenLink, open_link
from .access import Access
from .composing import compose, with_more
from .loop import EngineLoop
from .mirroring.files import Files
from .mirroring.resolve import end_conflict
from .mirroring.sync_job import SyncJob
from .ports.forwards import Forwards
from .ports.run_ports import RunPorts
from .ports.ssh_port import SshPort
from .programs.debug import Debugger
from .programs.failures import Failures
from .programs.glance import Glance
from .programs.process import ExecSpec, OnOutput, RemoteProcess, start_program
from .programs.runs import Runs
from .programs.tensorboard import Tensorboard
from .pulls.on_disk import stand as pulls_on_disk
from .pulls.pulls import Pulls
from .pushes.pushes import Pushes
from .pushes.restore import Restore
from .reach import Reach
from .teller import Teller
from .uplink import Uplink

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
        self._complaint: str | None = None  # the last one about a changed configuration
        self._loop = EngineLoop(
            f"devsync-engine-{self.root.name}", self._after_batch, self._step_failed
        )
        self._reach = Reach(
            self.root, profile, self._loop, ask, self, open_link=open_link
        )
        self._files = Files(
            self.root, self._loop, self._reach, self, emit=emit, ask=ask
        )
        self.access = Access(self._loop, self._reach)
        restore = Restore(self.root, profile, ask)
        self.pushes = Pushes(self.access, self._reach, restore)
        self.failures = Failures(self, self._loop, emit)
        emit = self.failures.emit
        self.glance = Glance(self._loop, self._reach, emit)
        self.runs = Runs(
            self._loop, self._reach, flush=self.flush, status=self.status, emit=emit
        )
        self.forwards = Forwards(self._loop, self._reach)
        self.ssh = SshPort(self.root, profile, self.forwards, emit)
        self._run_ports = RunPorts(self.runs, self.forwards)
        ours = (self.access, self.runs, self._run_ports)
        self.debugger = Debugger(*ours, self.forwards)
        self.tensorboard = Tensorboard(*ours)
        self.pulls = Pulls(self.root, self._loop, self._reach, emit)
        self._teller = Teller(emit, self._loop, self._compose())
        self._loop.start()

    # --- the public face ----------------------------------------------------------

    def connect(
        self, endpoint: str | None = None, *, is_patient: bool = True
    ) -> Future[Status]:
        """Goes online and starts mirroring; done once the link is up (not synced). A
        link that was lost is waited for, unless one is not `is_patient`.
        Idempotent. ConfigError, LinkError, AgentError; transient failures are tried
        again in the background all the same."""

        def work(future: Future[Status]) -> None:
            def then(error: DevsyncError | None) -> None:
                if error is not None:
                    future.set_exception(error)
                else:
                    future.set_result(self._compose())

            self._reach.use_endpoint(endpoint)
            self._reach.when_online(then, is_patient=is_patient)

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

    def look_at_vm(self) -> Future[None]:
        """Done when the status has the VM's disk and up time of now."""

        def work(future: Future[None]) -> None:
            self._reach.ask_machine(lambda: future.set_result(None))

        return self._loop.submit(work)

    def standing(self) -> Status:
        """The status, with what was pulled before the first link. Reads the disk."""
        status = self._teller.status
        if status.link == "online" or self.pulls.is_started:
            return status
        return replace(status, pulls=pulls_on_disk(self.root, self._profile))

    @property
    def is_in_use(self) -> bool:
        """Whether something on the VM needs us, though nobody looks. Any thread."""
        return (
            self.runs.is_any_running
            or self.forwards.is_in_use
            or self.pulls.is_in_use
            or self.pushes.is_any_running
        )

    def saved(self, path: Path) -> None:
        """A hint: an editor wrote this file. Never blocks, never fails."""
        since = time.monotonic()
        self._loop.post(lambda: self._files.saved(path, since))

    def config_changed(self) -> None:
        """`.colabremote.toml` was saved: rereads it, reconnects if it is online."""
        self._loop.post(self.reload)

    def sync(
        self,
        *,
        check: bool = False,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
        since: float | None = None,
    ) -> Future[SyncResult]:
        """Connects if needed, compares everything, sends, waits for all answers. What
        was compared after `since` (monotonic; None = now) is not compared again.
        UnsafePlan when deletions were not confirmed, NotFlushed when files failed."""
        asked = time.monotonic() if since is None else since

        def work(future: Future[SyncResult]) -> None:
            self._files.begin(SyncJob(future, check, progress, cancel, asked))

        return self._loop.submit(work)

    def flush(
        self,
        *,
        trust: bool,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
    ) -> Future[str]:
        """As `sync`, for who uses what is on the VM. With `trust` the VM is not asked
        what it holds, where that is settled: the result is the digest that the VM must
        find, or "" if it was asked."""

        def work(future: Future[str]) -> None:
            self._files.flush(future, trust=trust, progress=progress, cancel=cancel)

        return self._loop.submit(work)

    def conflicts(self) -> tuple[Conflict, ...]:
        """At once, from any thread."""
        return self._files.conflicts

    def stands_here(self, path: str) -> Literal["changed", "deleted", "unchanged"]:
        """A file in conflict, compared with what was mirrored last. Reads the disk."""
        mirror = self._files.mirror
        return mirror.conflicts.here(path) if mirror is not None else "changed"

    def resolve(self, path: str, keep: Literal["local", "remote"]) -> Future[Conflict]:
        """Ends a conflict. SyncError if there is none or a file changed meanwhile."""

        def work(future: Future[Conflict]) -> None:
            def then(error: DevsyncError | None) -> None:
                mirror, syncs = self._files.mirror, self._files.syncs
                if error is not None or mirror is None:
                    future.set_exception(error or LinkLost("There is no connection."))
                    return
                end_conflict(mirror, path, keep, syncs.when_at_rest, future)

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
                    self._files.syncs.when_at_rest(start, _REST_FOR_EXEC_S)

            self._reach.when_online(then)

        return self._loop.submit(work)

    def close(self) -> None:
        """Ends threads and the connection within a second, network dead or not."""

        def work() -> None:
            self._go_offline()
            self._files.forget()
            self._reach.close()

        self.runs.close()
        self.pulls.close()
        self.pushes.close()
        self.forwards.shut()
        self._loop.post(work)
        self._loop.stop(timeout_s=1.0)

    # --- the link -----------------------------------------------------------------

    def went_online(self, uplink: Uplink) -> None:
        """Reach has an uplink."""
        self.ssh.look(self._reach)
        self._files.went_online(uplink)
        self.pushes.look()  # so that `connect` already says what a new VM lacks

    def went_offline(self) -> None:
        """Reach lost its uplink; it tries again by itself."""
        self._files.went_offline()

    def taken_over(self, reason: str) -> None:
        """A newer connection of the same project owns the root: not ours any more."""
        if self._reach.uplink is not None:
            self._go_offline()
            self._reach.block(
                f"Another colab-devsync took the remote folder over ({reason}). "
                "Connect again to take it back."
            )

    def _go_offline(self) -> None:
        self._reach.go_offline()
        self._files.stop(connection_closed())

    def reload(self) -> None:
        """Takes over a changed configuration; a broken one changes nothing."""
        reach, complaint = self._reach, self._complaint
        try:
            self.use_config(reach.read_config())
        except DevsyncError as exc:
            reach.message = self._complaint = str(exc)
        else:
            if reach.message == complaint:
                reach.message = None

    def use_config(self, config: Config) -> None:
        """Reconnects if the way to the VM changed, compares if the rules did."""
        reach, old = self._reach, self._reach.config
        if old is None or config == old:
            return
        same_place = (config.name, config.remote) == (old.name, old.remote)
        if same_place and config.link == old.link:
            reach.config = config
            self.ssh.look(reach)
            self._files.use(config.sync)
            return
        was_wanted, jobs = reach.is_wanted, self._files.syncs.take()
        self._go_offline()
        self._files.forget()
        reach.config = config
        if was_wanted:
            reach.when_online(lambda error: None)
        for job in jobs:
            self._files.begin(job)

    # --- after each batch of steps ------------------------------------------------

    def _after_batch(self) -> None:
        self.runs.look()
        self.pushes.look()
        self.forwards.look()
        self._run_ports.look()
        self.pulls.look()
        self._files.pump()
        if self._reach.store is not None:
            self._reach.store.catch_up()
        # Told first, so that who waits for a sync finds its status current.
        self._teller.tell(self._compose())
        self._files.advance_syncs()

    def _step_failed(self, exc: Exception) -> None:
        """A bug: whoever waits learns of it instead of waiting for ever."""
        error = DevsyncError(
            f"colab-devsync failed inside: {exc!r}.", "See the log file."
        )
        self._files.syncs.fail(error)
        self._reach.message = str(error)

    def _compose(self) -> Status:
        status = compose(self.root, self._profile, self._reach, self._files.mirror)
        ours = (self._files.watch_problem, self.ssh.problem, self.pushes.offer)
        problems = (*ours, *self.pulls.problems)
        status = with_more(status, problems, self.runs, self.forwards)
        return replace(status, pulls=self.pulls.snapshot)
