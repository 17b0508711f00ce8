"""Programs under debugpy: started on the VM, or let into, and within an editor's reach.

A thread of its own per request. What debugs is the editor, which speaks to debugpy
through a forwarded port; nothing of that passes through here.
"""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future, wait
from dataclasses import dataclass, replace

from ...core.debugging import (
    DebugRequest,
    DebugTarget,
    refusal,
    target_behind,
    with_subprocesses,
)
from ...core.events import OnProgress, Progress
from ...core.runs import PortWait, RunInfo, RunSpec
from ...errors import RunError, UnknownRun
from ..access import Access
from ..ports.forwards import Forwards
from ..ports.run_ports import RunPorts
from .inject import Injection
from .last_words import last_words
from .launcher import launch, source_of
from .run_command import target_of
from .runs import Runs

_REACH_S = 60.0
_ASK_S = 30.0
_START_S = 300.0  # pip may have to fetch debugpy first
_ENDPOINTS = "endpoints.json"
_SPARING = "COLAB_DEVSYNC_SPARING"  # where debugger.py takes its source from
_SLOW_S = 3.0
_SLOWLY = "debugpy is being started; where it is missing, it is installed first"


@dataclass(frozen=True)
class _Job:
    """What somebody waits for. `root`: the project's folder on the VM."""

    request: DebugRequest
    root: str
    progress: OnProgress
    cancel: threading.Event

    def say(self, message: str) -> None:
        self.progress(Progress(message))


class Debugger:
    def __init__(
        self, access: Access, runs: Runs, ports: RunPorts, forwards: Forwards
    ) -> None:
        self._access = access
        self._runs = runs
        self._forwards = forwards
        self._ports = ports

    def start(
        self,
        request: DebugRequest,
        *,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
    ) -> Future[DebugTarget]:
        """Done when a client can attach. A program to be started is mirrored first.
        RunError, SyncError, LinkError, AgentError; CancelledError by `cancel`."""
        future: Future[DebugTarget] = Future()

        def run() -> None:
            try:
                root = self._access.uplink(_REACH_S).vm.root
                job = _Job(
                    request,
                    root,
                    progress or (lambda _: None),
                    cancel or threading.Event(),
                )
                port, of = self._attach(job) if request.is_attach else self._start(job)
                target = target_behind(
                    port, self._access.config, request, root=root, run=of
                )
            except BaseException as exc:  # noqa: BLE001 - the caller gets it
                future.set_exception(exc)
            else:
                future.set_result(target)

        threading.Thread(target=run, name="devsync-debug", daemon=True).start()
        return future

    # --- from the beginning -------------------------------------------------------

    def _start(self, job: _Job) -> tuple[int, str]:
        """The local port and the run's id."""
        starting = self._runs.start(
            self._spec(job),
            kind="debug",
            sync=job.request.sync,
            progress=job.progress,
            cancel=job.cancel,
            wait_port=PortWait(
                file=_ENDPOINTS,
                limit_s=_START_S,
                stop=True,
                idle_limit_s=job.request.wait_s,
            ),
        )
        if not wait([starting], _SLOW_S).done:
            job.say(_SLOWLY)
        run = starting.result()
        if job.cancel.is_set():
            self._runs.stop(run.id, kill=True)
            raise CancelledError
        if run.port is None:
            raise RunError(*refusal(last_words(self._runs, run)))
        return self._ports.open(run, job.request.local_port).local_port, run.id

    def _spec(self, job: _Job) -> RunSpec:
        config, request = self._access.config, job.request
        wanted = RunSpec(file=request.file, module=request.module, args=request.args)
        target = target_of(wanted, config, job.root)
        children = with_subprocesses(request, config)
        program = launch(
            config.remote.python,
            "debugger",
            "start",
            "1" if children else "0",
            "{run_dir}/" + _ENDPOINTS,
            *target.words,
        )
        sparing = {} if children else {_SPARING: source_of("sparing")}
        return RunSpec(
            argv=program.argv,
            file=target.file,
            module=target.module,
            env={**program.env, **sparing},
        )

    # --- while it runs ------------------------------------------------------------

    def _attach(self, job: _Job) -> tuple[int, str | None]:
        """The local port and the id of the run, if it is one."""
        run = self._run_of(job.request)
        if run is not None and run.kind == "debug" and run.port is not None:
            return self._ports.open(run, job.request.local_port).local_port, run.id
        pid = job.request.pid if run is None else run.pid
        assert pid is not None
        job.say(f"letting debugpy into process {pid}")
        injection = Injection(self._access, pid, job.cancel)
        port = injection.run()
        if run is not None:
            found = self._ports.open(replace(run, port=port), job.request.local_port)
        else:
            opening = self._forwards.open(
                port, job.request.local_port, name=f"process {pid}"
            )
            found = opening.result(_ASK_S)
        return found.local_port, run.id if run else None

    def _run_of(self, request: DebugRequest) -> RunInfo | None:
        """UnknownRun; RunError if it has ended."""
        if request.run is None:
            return None
        every = self._runs.list().result(_ASK_S)
        run = next((one for one in every if one.id == request.run), None)
        if run is None:
            raise UnknownRun(
                f"There is no run {request.run} on the VM.",
                "`colab-devsync runs` lists those there are.",
            )
        if run.state != "running":
            raise RunError(
                f"{run.id} has ended; there is nothing to attach to.",
                "`colab-devsync runs` lists what runs.",
            )
        return run
