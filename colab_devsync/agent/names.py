"""Names of folders on this machine, for people who type a path. Changes nothing."""

from __future__ import annotations

import os
from typing import List

from .paths import STATE_DIR

_MOST = 500


def folders_in(root: str, path: str) -> List[str]:
    """What is below `path` (absolute, or relative to `root`), sorted, 500 at most.
    OSError if it is no folder that can be read."""
    with os.scandir(os.path.join(root, path)) as entries:
        found = [one.name for one in entries if one.name != STATE_DIR and one.is_dir()]
    return sorted(found)[:_MOST]
