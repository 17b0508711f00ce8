"""Which files are open for writing, by any process we may look into."""

from __future__ import annotations

import os
import sys
from typing import Dict, Optional, Tuple

assert sys.platform != "win32"  # runs on the VM only

_APPEND = os.O_APPEND

File = Tuple[int, int]  # device, inode


def open_for_writing(folder: str) -> Optional[Dict[File, bool]]:
    """Files below `folder` (absolute, no links in it) that somebody may still write;
    True: by appending only. None where this system does not tell."""
    found: Dict[File, bool] = {}
    below = folder.rstrip("/") + "/"
    try:
        processes = [name for name in os.listdir("/proc") if name.isdigit()]
        os.listdir("/proc/self/fd")
    except OSError:
        return None
    for process in processes:
        base = "/proc/%s/fd" % process
        try:
            numbers = os.listdir(base)
        except OSError:
            continue  # it has ended, or is somebody else's
        for number in numbers:
            try:
                if os.readlink("%s/%s" % (base, number)).startswith(below):
                    _note(found, process, number)
            except OSError:
                continue  # closed meanwhile
    return found


def _note(found: Dict[File, bool], process: str, number: str) -> None:
    with open("/proc/%s/fdinfo/%s" % (process, number)) as lines:
        flags = next(int(line.split()[1], 8) for line in lines if line[:5] == "flags")
    if flags & os.O_ACCMODE == os.O_RDONLY:
        return
    about = os.stat("/proc/%s/fd/%s" % (process, number))
    file = (about.st_dev, about.st_ino)
    found[file] = found.get(file, True) and bool(flags & _APPEND)
