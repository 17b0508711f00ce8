"""What a debugger needs to know: the request, and the attach configuration. Pure.

Editors speak the Debug Adapter Protocol straight to debugpy on the VM, through one
forwarded port; the configuration here is the complete arguments of their `attach`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .config import Config

HOST = "127.0.0.1"


@dataclass(frozen=True)
class DebugRequest:
    """What to debug: a program to be started (by default that of [run]), or, with
    `pid` or `run`, one that runs already."""

    file: str | None = None
    module: str | None = None
    args: Sequence[str] = ()
    pid: int | None = None
    run: str | None = None
    wait_s: float = 60.0  # for a client to attach; then a started program is ended
    sync: bool = True  # whether a program to be started waits for the mirror
    local_port: int = 0  # to attach to; 0 = any
    subprocesses: bool | None = None  # None: what the configuration says

    @property
    def is_attach(self) -> bool:
        return self.pid is not None or self.run is not None


@dataclass(frozen=True)
class DebugTarget:
    """A debuggee that waits for a client at a port of this machine."""

    port: int
    remote_root: str  # absolute, on the VM
    just_my_code: bool
    subprocesses: bool
    name: str
    prefer: str  # of [debug]: which of its debug types VS Code should use
    run: str | None = None  # None for a process that is not a run of ours
    wait_s: float | None = None  # what is left to attach; None: no limit

    def as_json(self, local_root: str) -> dict[str, Any]:
        """The result of `devsync.debug`. `local_root`: as the client names it."""
        body = {
            "run": self.run,
            "connect": {"host": HOST, "port": self.port},
            "pathMappings": [{"localRoot": local_root, "remoteRoot": self.remote_root}],
            "justMyCode": self.just_my_code,
            "subProcess": self.subprocesses,
            "prefer": self.prefer,
            "waitSeconds": self.wait_s,
        }
        body["configuration"] = self.configuration(local_root)
        return {key: value for key, value in body.items() if value is not None}

    def configuration(self, local_root: str) -> dict[str, Any]:
        """The arguments of the DAP request `attach`, as debugpy takes them. `connect`
        also tells debugpy where its child sessions reach it: at the same port."""
        return {
            "name": self.name,
            "type": "debugpy",
            "request": "attach",
            "connect": {"host": HOST, "port": self.port},
            "pathMappings": [{"localRoot": local_root, "remoteRoot": self.remote_root}],
            "justMyCode": self.just_my_code,
            "subProcess": self.subprocesses,
            "redirectOutput": True,
            "showReturnValue": True,
            "clientOS": "windows" if sys.platform == "win32" else "unix",
        }


def with_subprocesses(request: DebugRequest, config: Config) -> bool:
    """Whether child processes of the program are debugged, too."""
    asked = request.subprocesses
    return config.debug.subprocesses if asked is None else asked


def target_behind(
    port: int, config: Config, request: DebugRequest, *, root: str, run: str | None
) -> DebugTarget:
    """The debuggee behind local `port`; `root` is the project's folder on the VM."""
    what = run or f"process {request.pid}"
    return DebugTarget(
        port=port,
        remote_root=root,
        just_my_code=config.debug.just_my_code,
        subprocesses=with_subprocesses(request, config),
        name=f"{config.name}: {what}",
        prefer=config.debug.prefer,
        run=run,
        wait_s=None if request.is_attach else request.wait_s,
    )


# What agent/debugger.py says, and the next step.
_HINTS = (
    (
        "debugpy cannot be installed",
        "Install it there: `colab-devsync exec -- python3 -m pip install debugpy`.",
    ),
    (
        "needs gdb",
        "`colab-devsync exec -- apt-get install -y gdb` installs it. A Python program "
        "that `colab-devsync run` starts needs none.",
    ),
    (
        "in one long call",
        "Try again: it is asked between two steps of Python. Nothing changed in it.",
    ),
    ("only once", "Stop it, and start it with `colab-devsync debug`."),
    (
        "(ptrace)",
        "`sysctl kernel.yama.ptrace_scope=0` on the VM allows it; or start the program "
        "with `colab-devsync debug`.",
    ),
    ("no process", "`colab-devsync runs` lists what runs."),
    ("no module", "What is ignored is not on the VM; see also `cwd` in [run]."),
    ("no file", "What is ignored is not on the VM; see also `cwd` in [run]."),
)


def refusal(why: str) -> tuple[str, str]:
    """Message and hint, from what was said instead of a port."""
    hint = next((hint for words, hint in _HINTS if words in why), "")
    return f"The program cannot be debugged: {why}.", hint
