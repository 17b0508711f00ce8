"""TensorBoard on the VM, within a browser's reach: one per folder of event files.

A thread of its own per request. TensorBoard is a run like others: it goes on without
us, and whoever asks for the same folder gets the one there is.
"""

from __future__ import annotations

import http.client
import posixpath
import threading
import time
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Any

from ...core.events import OnProgress, Progress
from ...core.runs import ForwardInfo, PortWait, RunInfo, RunSpec
from ...errors import RunError
from ..access import Access
from ..ports.run_ports import RunPorts
from .last_words import last_words
from .launcher import launch
from .runs import Runs

_REACH_S = 60.0
_ASK_S = 30.0
_START_S = 120.0  # importing it takes 20 s where TensorFlow is there
_ANSWER_S = 30.0
_PAUSE_S = 0.1
_SAYS_PORT = r"TensorBoard \S+ at http://[^ ]*:(\d+)"


@dataclass(frozen=True)
class Board:
    """A TensorBoard that answers at a port of this machine."""

    run: str
    logdir: str  # absolute, on the VM
    forward: ForwardInfo

    def as_json(self) -> dict[str, Any]:
        """The result of `devsync.tensorboard`."""
        return {
            "url": self.forward.url,
            "localPort": self.forward.local_port,
            "run": self.run,
            "logdir": self.logdir,
        }


class Tensorboard:
    def __init__(self, access: Access, runs: Runs, ports: RunPorts) -> None:
        self._access = access
        self._runs = runs
        self._ports = ports
        self._one_at_a_time = threading.Lock()

    def open(
        self,
        logdir: str | None = None,
        *,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
    ) -> Future[Board]:
        """Starts it if none shows `logdir` (default: [tensorboard] logdir); done when
        it answers. RunError, LinkError, AgentError; CancelledError by `cancel`."""
        say = progress or (lambda _: None)
        future: Future[Board] = Future()

        def run() -> None:
            try:
                with self._one_at_a_time:
                    board = self._open(logdir, say, cancel or threading.Event())
            except BaseException as exc:  # noqa: BLE001 - the caller gets it
                future.set_exception(exc)
            else:
                future.set_result(board)

        threading.Thread(target=run, name="devsync-tensorboard", daemon=True).start()
        return future

    def _open(
        self, logdir: str | None, say: OnProgress, cancel: threading.Event
    ) -> Board:
        root = self._access.uplink(_REACH_S).vm.root
        folder = posixpath.join(root, logdir or self._access.config.tensorboard.logdir)
        folder = posixpath.normpath(folder)
        run = self._running(folder)
        if run is None:
            say(Progress("TensorBoard starts (it may take 20 s)"))
            run = self._start(folder, cancel)
        forward = self._ports.open(run)
        _wait_answer(forward.local_port, cancel)
        return Board(run.id, folder, forward)

    def _running(self, folder: str) -> RunInfo | None:
        for run in self._runs.list().result(_ASK_S):
            is_alive = run.kind == "tensorboard" and run.state == "running"
            if is_alive and run.port is not None and run.argv[-1] == folder:
                return run
        return None

    def _start(self, folder: str, cancel: threading.Event) -> RunInfo:
        program = launch(self._access.config.remote.python, "board", folder)
        run = self._runs.start(
            RunSpec(argv=program.argv, module="tensorboard", cwd=".", env=program.env),
            kind="tensorboard",
            sync=False,
            cancel=cancel,
            wait_port=PortWait(pattern=_SAYS_PORT, limit_s=_START_S, stop=True),
        ).result()
        if cancel.is_set():
            self._runs.stop(run.id)
            raise CancelledError
        if run.port is None:
            why = last_words(self._runs, run)
            hint = ""
            if "is not installed" in why:
                python = self._access.config.remote.python
                command = f"{python} -m pip install tensorboard"
                hint = f"Install it there: `colab-devsync exec -- {command}`."
            raise RunError(f"TensorBoard did not start on the VM: {why}.", hint)
        return run


def _wait_answer(port: int, cancel: threading.Event) -> None:
    """Until something answers HTTP there. RunError, CancelledError."""
    deadline = time.monotonic() + _ANSWER_S
    while True:
        left = deadline - time.monotonic()
        try:
            _get(port, max(1.0, left))
        except (OSError, http.client.HTTPException) as exc:
            if left <= 0:
                raise RunError(
                    f"TensorBoard does not answer at 127.0.0.1:{port}: {exc}.",
                    "`colab-devsync runs` shows whether it runs, `logs` what it says.",
                ) from exc
        else:
            return
        if cancel.wait(_PAUSE_S):
            raise CancelledError


def _get(port: int, timeout_s: float) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", "/data/environment")
        return connection.getresponse().status
    finally:
        connection.close()
