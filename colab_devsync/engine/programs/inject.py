"""Lets debugpy into a process that runs on the VM already.

Blocks, for any thread but the engine's. Asking again is harmless: debugpy listens in
a process once, and the port is kept there.
"""

from __future__ import annotations

import json
import posixpath
import threading
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError

from ...agent.paths import STATE_DIR
from ...core.debugging import refusal
from ...errors import LinkLost, RunError
from ...remote.bootstrap import shell_name
from ..access import Access
from .last_words import picked
from .launcher import launch, source_of
from .process import ExecSpec, RemoteProcess

_REACH_S = 60.0
_LETTING_IN = "COLAB_DEVSYNC_LETTING_IN"  # where debugger.py takes its source from
_LIMIT_S = 400.0  # pip may have to fetch debugpy first
_LOOK_S = 0.2
_TRIES = 5


class Injection:
    def __init__(self, access: Access, pid: int, cancel: threading.Event) -> None:
        self._access = access
        self._pid = pid
        self._cancel = cancel

    def run(self) -> int:
        """The port on the VM. RunError, LinkError, AgentError, CancelledError."""
        for left in reversed(range(_TRIES)):
            try:
                return self._attempt()
            except LinkLost:
                if not left:
                    raise
                self._cancel.wait(_LOOK_S)  # a dead link may look alive as long
        raise AssertionError

    def _attempt(self) -> int:
        uplink = self._access.uplink(_REACH_S)
        config = self._access.config
        runs = posixpath.join(uplink.vm.root, STATE_DIR, "runs")
        attach = ("attach", str(self._pid), runs)
        program = launch(config.remote.python, "debugger", *attach)
        said = {"stdout": b"", "stderr": b""}

        def heard(stream: str, data: bytes) -> None:
            said[stream] += data

        letting_in = {_LETTING_IN: source_of("sparing") + source_of("letting_in")}
        env = {**config.remote.env, **program.env, **letting_in}
        process = RemoteProcess(uplink.open_stream(), heard)
        # The shell finds the home folder of a python that is named "~/...".
        start = f'exec {shell_name(config.remote.python)} "$@"'
        argv = ("sh", "-c", start, "sh", *program.argv[1:])
        process.start(ExecSpec(argv, env=env))
        try:
            code = self._wait(process)
        finally:
            process.close()
        if code:
            words = picked(said["stderr"].decode("utf-8", "replace"))
            raise RunError(*refusal(words))
        return int(json.loads(said["stdout"])["port"])

    def _wait(self, process: RemoteProcess) -> int:
        waited_s = 0.0
        while waited_s < _LIMIT_S:
            if self._cancel.is_set():
                raise CancelledError
            try:
                return process.exit_code.result(_LOOK_S)
            except FutureTimeoutError:  # another class before Python 3.11
                waited_s += _LOOK_S
        raise RunError(
            f"debugpy did not get into process {self._pid} in {_LIMIT_S:.0f} s.",
            "Is it stopped, or in a long call of a library?",
        )
