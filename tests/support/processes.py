"""Looks at processes that are not our children: does it live, wait until it is gone."""

from __future__ import annotations

import os
import time


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until_gone(pid: int, timeout_s: float = 5) -> None:
    """No event tells the end of a stranger's child, so this looks again and again."""
    deadline = time.monotonic() + timeout_s
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} lives on"
        time.sleep(0.01)
