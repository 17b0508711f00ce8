"""Whether this machine lets a debugger into programs that run already."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path


@cache
def obstacle() -> str:
    """A word of the refusal that is to be expected here; "" where nothing hinders."""
    path = Path("/proc/sys/kernel/yama/ptrace_scope")
    scope = int(path.read_text()) if path.exists() else 0
    if scope == 3 or (scope and os.geteuid() != 0):
        return "ptrace"
    # gdb 13 cannot write the registers of processors that are newer than it.
    with subprocess.Popen(["sleep", "60"]) as victim:
        call = [
            "gdb",
            "--nx",
            "--batch",
            "-p",
            str(victim.pid),
            "-ex",
            "p (int)getpid()",
        ]
        done = subprocess.run(call, capture_output=True, text=True, timeout=60)
        victim.kill()
    return "" if f"= {victim.pid}" in done.stdout else "a newer gdb"
