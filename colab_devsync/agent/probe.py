"""What kind of machine this is, and what it expects of programs."""

from __future__ import annotations

import functools
import os
import platform
import pwd
import resource
import shutil
import subprocess
import sys
from typing import Dict, List, Optional

assert sys.platform != "win32"  # runs on the VM only


_OPEN_FILES = 4096


def allow_open_files() -> None:
    """Many streams of many files need more than the 256 macOS starts with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def boot_id() -> str:
    """Changes with every boot; "" where the system does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            return stream.read().strip()
    except OSError:
        return ""


def identity() -> Dict[str, object]:
    """Cheap facts, sent with the handshake."""
    return {
        "host": platform.node(),
        "user": _user(),
        "python": "%d.%d.%d" % sys.version_info[:3],
        "boot_id": boot_id(),
        "pid": os.getpid(),
        "sshd": sshd(),
    }


def sshd() -> Optional[List[object]]:
    """The address and port at which the SSH server took our connection, as it told."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    if len(words) != 4 or not words[3].isdigit():
        return None
    return [words[2], int(words[3])]


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # containers run under numbers nobody has given a name
        return str(os.getuid())


def machine(root: str) -> Dict[str, object]:
    """Facts that may take a second: GPU, memory, disk."""
    disk = shutil.disk_usage(root)
    return {
        "gpu": gpu(),
        "ram_total": _ram_total(),
        "disk_total": disk.total,
        "disk_free": disk.free,
        "uptime_s": _uptime(),
    }


def gpu() -> Optional[str]:
    """The GPUs' names as nvidia-smi gives them, or None."""
    try:
        return _gpus() or None
    except (OSError, subprocess.SubprocessError):
        return None


@functools.lru_cache(maxsize=None)
def _gpus() -> str:
    """Asked once, as they stay and it may take a second. OSError, SubprocessError."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    answer = subprocess.run(
        query,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=10,
        check=True,
    )
    return "; ".join(answer.stdout.decode("utf-8", "replace").strip().splitlines())


def _ram_total() -> Optional[int]:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


def _uptime() -> Optional[float]:
    try:
        with open("/proc/uptime", encoding="ascii") as stream:
            return float(stream.read().split()[0])
    except OSError:
        return None


def is_case_sensitive(folder: str) -> bool:
    """Whether names that differ only in case are two files below `folder`."""
    probe = os.path.join(folder, ".Case-%d" % os.getpid())
    with open(probe, "w", encoding="ascii"):
        pass
    try:
        return not os.path.exists(probe.lower())
    finally:
        os.unlink(probe)
