"""Small disks, to be filled: real ones that answer ENOSPC. Needs root on Linux."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str, *, files: int = 0) -> Iterator[Path]:
    """`folder` has room for `size` ("2m"), and for so many files and folders if that
    is not 0; what is in it goes away at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = [
        "mount",
        "-t",
        "tmpfs",
        "-o",
        f"size={size},nr_inodes={files}",
        "tmpfs",
        str(folder),
    ]
    with _mounted(mount, folder):
        yield folder


@contextmanager
def own_mount(folder: Path) -> Iterator[Path]:
    """`folder` as it is, but a mount of its own, for `remount(folder, "bind,ro")`."""
    with _mounted(["mount", "--bind", str(folder), str(folder)], folder):
        yield folder


@contextmanager
def _mounted(mount: list[str], folder: Path) -> Iterator[None]:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs root on Linux to mount something")
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine does not admit mounts")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(disk: Path, options: str) -> None:
    """Changes a mounted disk: "ro", "rw", "nr_inodes=500"."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Takes all the room there is, to the last byte; the file that has it."""
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as stream:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while stream.write(bytes(size)) == size:
                    pass
    return filler
