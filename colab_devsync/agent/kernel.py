"""The environment that programs on this machine expect: the notebook kernel's.

An SSH shell on Colab has neither its LD_LIBRARY_PATH nor its PATH, and torch then sees
no GPU. Every run asks, and looking at all processes takes milliseconds: what was
looked at a moment ago is not looked at again.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Dict, Set, Tuple

assert sys.platform != "win32"  # runs on the VM only

_NAMES = (b"ipykernel_launcher", b"colab_kernel_launcher")
_NVIDIA = "/usr/lib64-nvidia"
_TRUST_S = 60.0  # a process that was no kernel may have become one since
_MOST = 1 << 20  # bytes of a command line or an environment
_NEVER = float("-inf")


class Kernel:
    """Any thread."""

    def __init__(self, names: Tuple[bytes, ...] = _NAMES) -> None:
        """`names`: one of them stands in a kernel's command line."""
        self._names = names
        self._lock = threading.Lock()
        self._pid = ""  # of the one that was found last
        self._others: Set[str] = set()  # those that are none
        self._looked_at = _NEVER  # when all of them were looked at

    def environment(self) -> Dict[str, str]:
        """Its environment over our own; without a kernel, our own. With the NVIDIA
        library folder, where there is one."""
        found = dict(os.environ)
        with self._lock:
            found.update(self._find())
        libraries = found.get("LD_LIBRARY_PATH", "").split(":")
        if os.path.isdir(_NVIDIA) and _NVIDIA not in libraries:
            found["LD_LIBRARY_PATH"] = ":".join(
                [_NVIDIA] + [lib for lib in libraries if lib]
            )
        return found

    def _find(self) -> Dict[str, str]:
        now = time.monotonic()
        if now - self._looked_at > _TRUST_S:
            self._others, self._looked_at = set(), now
        try:
            pids = [name for name in os.listdir("/proc") if name.isdigit()]
        except OSError:  # macOS
            return {}
        self._others.intersection_update(pids)
        for pid in [self._pid, *pids]:
            is_new = pid not in self._others
            found = self._environment_of(pid) if pid and is_new else {}
            if found:
                self._pid = pid
                return found
            self._others.add(pid)
        return {}

    def _environment_of(self, pid: str) -> Dict[str, str]:
        """{} unless it is a kernel that is ours to look at."""
        try:
            words = _read("/proc/%s/cmdline" % pid)
            if not any(name in words for name in self._names):
                return {}
            text = _read("/proc/%s/environ" % pid).decode("utf-8", "surrogateescape")
        except OSError:
            return {}  # it has ended, perhaps
        return dict(pair.split("=", 1) for pair in text.split("\0") if "=" in pair)


def _read(path: str) -> bytes:
    """All of it; a file object would take four times as long."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, _MOST)
    finally:
        os.close(fd)


environment = Kernel().environment  # this process's
