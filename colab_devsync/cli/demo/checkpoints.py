"""The demo's last step: checkpoints come home while it trains, and the VM is lost."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import time
from pathlib import Path
from typing import Any

from ...errors import DevsyncError
from ...link.sandbox.link import replace_vm
from .stage import Demo

_ENOUGH = 3  # checkpoints, before the VM goes
_TRIES = 100
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


def rescue(demo: Demo) -> None:
    demo.title("train.py writes checkpoints; they come home; then the VM is lost")
    arguments = ["--epochs", "2000", "--state-mb", "1"]
    began = time.perf_counter()
    run = demo.vm.job("run", file="train.py", args=arguments, detach=True)
    for _ in range(_ENOUGH):
        body = demo.vm.wait("colabDevsync/pulled", lambda body: body["bytes"] > 10**6)
        seconds = time.perf_counter() - began
        size = body["bytes"] / 1e6
        demo.say(f"{body['path']} is here, {size:.1f} MB, after {seconds:.2f} s")
    if _state(demo, run["run"]) != "running":
        raise DevsyncError("The training ended before its VM did.")
    there = _lose_vm(demo, run["pid"])
    demo.say("the VM is gone, in the middle of the training; its disk, too")
    here = _hashes(demo.project)
    if not here or any(there.get(name) != found for name, found in here.items()):
        raise DevsyncError("A checkpoint here is not what the VM had.")
    newest = max(here)
    demo.say(f"here: {', '.join(sorted(here))}")
    demo.say("each is what the VM had finished (SHA-256 compared), none is half")
    demo.record(
        "the VM is lost", f"{len(here)} here", f"the newest, {newest}, is whole"
    )


def _hashes(project: Path) -> dict[str, str]:
    """Of the large checkpoints."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (project / "checkpoints").glob("*.ckpt")
        if path.stat().st_size > 10**6
    }


def _state(demo: Demo, run: str) -> str:
    runs: list[dict[str, Any]] = demo.vm.command("runs")["runs"]
    return next(str(one["state"]) for one in runs if one["run"] == run)


def _lose_vm(demo: Demo, pid: int) -> dict[str, str]:
    """What Google does without a word: no machine, no programs, no disk. What was on
    that, for comparison."""
    vm = Path(os.environ["COLAB_DEVSYNC_CACHE_DIR"]) / "sandbox" / demo.project.name
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, _KILL)
    demo.vm.command("disconnect")
    had = _hashes(vm / "vm" / "content" / demo.project.name)
    for _ in range(_TRIES):
        try:
            replace_vm(vm)
        except OSError:  # its last programs are still ending
            time.sleep(0.02)
        else:
            return had
    raise DevsyncError(f"{vm} could not be emptied.")
