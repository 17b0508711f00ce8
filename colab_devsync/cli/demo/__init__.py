"""`colab-devsync demo`: the main job from end to end, against the embedded sandbox.

Runs on the calling thread, through the same daemon and the same messages that editors
use, with a daemon and folders of its own: the user's stay as they are. Leaves nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console

from . import checkpoints, files, programs
from .stage import Demo, as_json, copy_example, own_folders, summary
from .vm import DemoVm

STEPS: tuple[Callable[[Demo], None], ...] = (
    files.mirror,
    files.edit,
    programs.train,
    programs.debug,
    programs.board,
    files.conflict,
    files.outage,
    checkpoints.rescue,
)


def run(*, quiet_stdout: bool = False) -> dict[str, Any]:
    """What was measured; or an exception that says which step failed. All is said on
    stdout, or on stderr if that is for machines."""
    console = Console(soft_wrap=True, stderr=quiet_stdout)
    began = time.perf_counter()
    console.print("The main job of colab-devsync, on this machine alone: the VM is a")
    console.print("folder behind a real SSH server, 40 ms away. No account is needed.")
    with own_folders() as folder:
        project = folder / "segmentation"
        copy_example(project)
        with DemoVm(project) as vm:
            demo = Demo(console, project, vm)
            for step in STEPS:
                step(demo)
            seconds = time.perf_counter() - began
            summary(demo, seconds)
    return as_json(demo.rows, seconds)
