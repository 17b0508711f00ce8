"""Files of the VM come home: finished ones, whole, and nothing of ours is lost."""

from __future__ import annotations

import os
import random

import pytest

from colab_devsync.core.events import FilePulled
from tests.support.project import Project

RULE = """
[[pull]]
remote = "checkpoints"
include = ["*.pt", "*.log"]
every = 1
"""
BIG = 3_000_000


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture
def pulling(project: Project) -> Project:
    project.configure(more=RULE)
    return project


def here(project: Project, path: str) -> bytes | None:
    try:
        return (project.root / "checkpoints" / path).read_bytes()
    except FileNotFoundError:
        return None


def wait_here(project: Project, path: str, data: bytes) -> None:
    project.wait(lambda: here(project, path) == data, f"{path} comes home")


def test_what_is_there_and_what_comes_later(pulling: Project) -> None:
    small, big = b"small", noise(BIG)
    pulling.write_there("checkpoints/a.pt", small)
    pulling.write_there("checkpoints/deep/big.pt", big)
    pulling.write_there("checkpoints/notes.txt", "not included")
    os.utime(pulling.vm / "checkpoints/deep/big.pt", ns=(10**18, 10**18 + 7))
    pulling.connect()
    wait_here(pulling, "a.pt", small)
    wait_here(pulling, "deep/big.pt", big)
    assert (pulling.root / "checkpoints/deep/big.pt").stat().st_mtime_ns == 10**18 + 7
    pulling.write_there("checkpoints/later.pt", b"later")
    wait_here(pulling, "later.pt", b"later")
    assert here(pulling, "notes.txt") is None
    pulled = [one for one in pulling.log.events if isinstance(one, FilePulled)]
    assert {one.path for one in pulled} == {"a.pt", "deep/big.pt", "later.pt"}
    assert not (pulling.root / "checkpoints" / ".colab-devsync").exists()


def test_a_pull_by_hand_tells_what_came(pulling: Project) -> None:
    pulling.write_there("checkpoints/a.pt", b"1234")
    result = pulling.session.pulls.pull().result(15)
    assert (result.files, result.bytes) == (1, 4)
    again = pulling.session.pulls.pull("checkpoints").result(15)
    assert (again.files, again.bytes) == (0, 0)
