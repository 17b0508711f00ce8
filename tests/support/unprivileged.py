"""For tests of what may not be read: root may read everything."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534
_POWERS = "-dac_override,-dac_read_search"


def without_powers() -> list[str]:
    """Begins a command for which the rights of files count, though root runs it."""
    assert sys.platform == "linux"
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--bounding-set={_POWERS}"]


@contextmanager
def unprivileged(folder: Path) -> Iterator[None]:
    """This process has no special rights for a while; `folder` stays in its reach."""
    if sys.platform == "win32" or os.geteuid() != 0:
        yield
        return
    for above in (folder, *folder.parents):
        mode = above.stat().st_mode
        if not mode & 0o001:
            above.chmod(mode | 0o011)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
