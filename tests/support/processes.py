"""Looks at processes that are not our children: does it live, wait until it is gone."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until_gone(pid: int, timeout_s: float = 30) -> None:
    """No event tells the end of a stranger's child, so this looks again and again."""
    deadline = time.monotonic() + timeout_s
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} lives on"
        time.sleep(0.01)


def wait_for(look: Callable[[], object], what: str, timeout_s: float = 60) -> None:
    """Until `look` is true, of which another process tells nothing."""
    deadline = time.monotonic() + timeout_s
    while not look():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)


def started_with(mark: str) -> list[str]:
    """Command lines of the processes with this NAME=VALUE in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_text())
        except OSError:
            continue  # it ended, or is not ours
    return found


def wait_childless(pid: int, timeout_s: float = 30) -> None:
    """Until a shell has nothing in the foreground."""
    deadline = time.monotonic() + timeout_s
    while not subprocess.run(["pgrep", "-P", str(pid)], capture_output=True).returncode:
        assert time.monotonic() < deadline, f"process {pid} still has children"
        time.sleep(0.01)


def agents(vm: Path) -> list[int]:
    """Processes that have our folder on the VM open; Linux only."""
    found = []
    wanted = str(vm / ".colab-devsync" / "alive")
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            links = [os.readlink(fd) for fd in (process / "fd").iterdir()]
        except OSError:
            continue  # it ended, or is not ours
        if wanted in links:
            found.append(int(process.name))
    return found
