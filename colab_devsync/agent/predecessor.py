"""The connection an agent came by, and hanging up the one of its predecessor.

A tunnel that breaks in silence leaves its SSH session on the VM for hours, and with it
the forwarded connections: a debugger whose editor is long gone takes no other. Whoever
takes a root over from itself knows better than the system that nobody is there.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import List, Optional

assert sys.platform != "win32"  # runs on the VM only

_SSHD = ("sshd", "sshd-session")


def connection() -> Optional[List[str]]:
    """The SSH session's process: number and start; None if it is nothing of the kind
    (or not to be seen, as on macOS)."""
    return _identity(os.getppid())


def hang_up(known: object) -> None:
    """Ends that session, if it is still the same process. Never fails."""
    if not isinstance(known, list) or len(known) != 2:
        return
    if not str(known[0]).isdigit() or known == connection():
        return
    if _identity(int(known[0])) == known:
        try:
            os.kill(int(known[0]), signal.SIGTERM)
        except OSError:
            pass  # it ended meanwhile, or is not ours


def _identity(pid: int) -> Optional[List[str]]:
    try:
        with open("/proc/%d/stat" % pid, encoding="ascii", errors="replace") as stream:
            head, _, rest = stream.read().rpartition(")")
    except OSError:
        return None
    if head.partition("(")[2] not in _SSHD:
        return None
    return [str(pid), rest.split()[19]]
