"""Files of the VM that stay open while pieces of them are asked for."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("the agent runs elsewhere", allow_module_level=True)

from colab_devsync.agent.pulling_reads import Changed, Held, Wanted


def wanted(path: Path) -> Wanted:
    about = path.stat()
    numbers = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)
    return Wanted(str(path.parent), path.name, *numbers, grows=False)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_what_is_dropped_in_use_is_closed_when_it_is_not(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"a")
    held, file = Held(), wanted(tmp_path / "a.pt")
    fd = held.use(file)
    assert held.use(file) == fd
    (tmp_path / "a.pt").unlink()
    held.drop(file)
    held.leave(file)
    assert is_open(fd)
    held.leave(file)
    assert not is_open(fd)
    with pytest.raises(FileNotFoundError):
        held.use(file)


def test_what_is_not_in_use_is_closed_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"a")
    held, file = Held(), wanted(tmp_path / "a.pt")
    fd = held.use(file)
    held.leave(file)
    assert is_open(fd)
    (tmp_path / "a.pt").write_bytes(b"changed in place")
    with pytest.raises(Changed):
        held.use(file)
    assert not is_open(fd)
