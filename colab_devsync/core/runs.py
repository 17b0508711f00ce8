"""Programs that live on the VM, and ports that lead there: frozen values.

A run is what the VM knows of a program that it keeps going without us; a forward is a
local port of ours that leads to a port there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

LAUNCH = "import os; exec(os.environ.pop('COLAB_DEVSYNC_SOURCE'))"
"""What the VM's Python is given to run a program of ours (programs/launcher.py)."""

RunKind = Literal["run", "debug", "tensorboard"]
RunState = Literal["running", "exited", "lost"]
RunStream = Literal["stdout", "stderr"]


@dataclass(frozen=True)
class RunSpec:
    """What to start. Without `argv`, `file` or `module` are run by `remote.python`;
    without these, what [run] in the configuration names."""

    file: str | None = None  # "/"-separated, relative to the project, or absolute there
    module: str | None = None
    args: Sequence[str] = ()
    cwd: str | None = None  # relative to the remote project folder; None: [run] cwd
    env: Mapping[str, str] = field(default_factory=dict)
    argv: Sequence[str] | None = None  # as it is; "{run_dir}" = the run's folder


@dataclass(frozen=True)
class PortWait:
    """How the VM finds out at which port a run listens: `client.port` in the JSON file
    `file` of the run's folder, or group 1 of `pattern` in what it prints."""

    file: str | None = None
    pattern: str | None = None
    limit_s: float = 60.0
    stop: bool = False  # end the run if `limit_s` pass without a port
    idle_limit_s: float | None = None  # end it if nobody connects for so long

    def as_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class RunInfo:
    """A run as its VM reported it. Times are unix seconds of the VM's clock."""

    id: str  # "train-3"
    kind: RunKind
    argv: tuple[str, ...]
    cwd: str  # absolute, on the VM
    state: RunState
    pid: int | None = None
    started: float = 0.0
    ended: float | None = None
    exit_code: int | None = None  # 128 + n if signal n ended it
    signal: str | None = None  # "SIGKILL"
    port: int | None = None  # on the VM's loopback: debugpy's or TensorBoard's
    stdout: int = 0  # bytes in the logs so far
    stderr: int = 0
    message: str | None = None  # why it is lost, or why the VM ended it

    @property
    def command(self) -> tuple[str, ...]:
        """`argv` as a person would have typed it: without what we put in front."""
        if LAUNCH not in self.argv:
            return self.argv
        words = self.argv[self.argv.index(LAUNCH) + 1 :]
        if self.kind == "tensorboard":
            return ("tensorboard", "--logdir", *words)
        return (self.argv[0], *words[3:])  # of debugger.py: start, children, endpoints

    def as_json(self) -> dict[str, Any]:
        """An element of `devsync.runs` and of `runs --json`."""
        body = {**asdict(self), "argv": self.command}
        body["run"] = body.pop("id")
        body["exitCode"] = body.pop("exit_code")
        return {key: value for key, value in body.items() if value is not None}


@dataclass(frozen=True)
class ForwardInfo:
    """An open local port. `moved_from` is the port that was asked for but taken."""

    name: str
    remote_port: int
    local_port: int
    remote_host: str = "127.0.0.1"
    moved_from: int | None = None
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.local_port}/"

    def as_json(self) -> dict[str, Any]:
        body = {
            "name": self.name,
            "remotePort": self.remote_port,
            "localPort": self.local_port,
            "url": self.url,
            "connections": self.connections,
            "movedFrom": self.moved_from,
        }
        return {key: value for key, value in body.items() if value is not None}
