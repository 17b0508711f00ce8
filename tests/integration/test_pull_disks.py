"""Files come home to disks that are full, read-only or not ours: nothing is lost, the
rest goes on, and what failed comes by itself when the obstacle is gone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from colab_devsync.core.events import Problem
from colab_devsync.core.pulls import PullInfo
from colab_devsync.errors import NotPulled
from tests.support.disks import fill, remount, small_disk
from tests.support.project import Project
from tests.support.proxy import ChaosProxy
from tests.support.pulls import BIG, Pulling, noise, rule

OTHER = '[[pull]]\nremote = "logs"\nevery = 1\n'
DISK = "24m"  # of these, 16 MB are left to others
SIZE = 6_500_000
SLOW = 1_500_000  # bytes/s: there is time to fill the disk meanwhile

# The disk is here, whatever the server is.
pytestmark = pytest.mark.openssh


@pytest.fixture
def mounts() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def pulling(project: Project, proxy: ChaosProxy, mounts: ExitStack) -> Pulling:
    """What is pulled goes to a small disk, the project and its state are elsewhere."""
    mounts.callback(project.close)
    project.configure(port=proxy.port, more=rule() + OTHER)
    pulling = Pulling(project)
    mounts.enter_context(small_disk(pulling.here, DISK))
    pulling.pull()
    return pulling


def of(pulling: Pulling, name: str) -> PullInfo:
    pulls = pulling.project.session.status().pulls
    return next((one for one in pulls if one.name == name), PullInfo("", "", ""))


def wait_part(pulling: Pulling) -> None:
    """Until some of a file of SIZE is here."""
    most = SIZE - 1_500_000
    pulling.until(
        lambda: 0 < of(pulling, "checkpoints").waiting_bytes < most, "some is here"
    )


def problem(pulling: Pulling, path: str) -> Problem:
    return pulling.project.wait_problem(f"checkpoints/{path}")


def assert_work_goes_on(pulling: Pulling) -> None:
    """Saves, and the other rule."""
    pulling.project.save("train.py", "saved\n")
    pulling.project.wait_arrived("train.py")
    pulling.project.write_there("logs/a.txt", "log")
    local = pulling.project.root / "logs" / "a.txt"
    pulling.until(lambda: local.exists() and local.read_bytes() == b"log", "logs come")
    pulling.until(lambda: of(pulling, "logs").state == "watching", "logs are here")
    assert of(pulling, "checkpoints").state == "failed"


def test_a_disk_that_fills_up_meanwhile(pulling: Pulling, proxy: ChaosProxy) -> None:
    data = noise(SIZE)
    proxy.shape(bandwidth=SLOW)
    pulling.put("a.pt", data)
    wait_part(pulling)
    before = proxy.counts().down
    filler = fill(pulling.here)
    found = problem(pulling, "a.pt")
    assert "the disk here is full; it needs" in found.message
    assert "Make room" in found.hint
    stand = of(pulling, "checkpoints")
    assert (stand.state, stand.waiting) == ("failed", 1)
    assert "a.pt: It could not be pulled: the disk here is full" in str(stand.message)
    assert pulling.read("a.pt") is None
    proxy.shape()
    assert_work_goes_on(pulling)
    with pytest.raises(NotPulled, match=r"a\.pt.*the disk here"):
        pulling.pull()
    filler.unlink()
    pulling.wait("a.pt", data)
    assert proxy.counts().down - before < SIZE - 500_000  # what had come was kept
    pulling.until(lambda: of(pulling, "checkpoints").state == "watching", "all is well")
    assert pulling.files() == {"a.pt"}


def test_a_full_disk_and_small_files(pulling: Pulling) -> None:
    filler = fill(pulling.here)
    for number in range(50):
        pulling.put(f"{number}.pt", noise(20_000, number))
    pulling.until(lambda: of(pulling, "checkpoints").state == "failed", "it is told")
    pulling.until(
        lambda: of(pulling, "checkpoints").waiting == 50, "all are waited for"
    )
    assert len(pulling.project.session.status().problems) < 30
    assert_work_goes_on(pulling)
    filler.unlink()
    pulling.until(lambda: of(pulling, "checkpoints").here == 50, "all come")
    assert len(pulling.files()) == 50


def test_several_files_that_fit_only_one_by_one(pulling: Pulling) -> None:
    """Begun together, they would fill the disk with parts and none would be whole."""
    pulling.project.close()
    for number in range(3):
        pulling.put(f"{number}.pt", noise(5_000_000, number), mtime_ns=10**18 + number)
    pulling.project.connect()
    pulling.wait("2.pt", noise(5_000_000, 2))
    pulling.until(lambda: not pulling.parts(), "no part is left")
    pulling.until(lambda: of(pulling, "checkpoints").state == "failed", "it is told")
    assert pulling.files() == {"2.pt"}
    assert "checkpoints/1.pt: " in str(of(pulling, "checkpoints").message)


def test_the_newest_gets_the_room_that_parts_of_older_ones_have(
    pulling: Pulling, proxy: ChaosProxy
) -> None:
    proxy.shape(bandwidth=SLOW)
    pulling.put("old.pt", noise(SIZE, 1), mtime_ns=10**18)
    wait_part(pulling)
    filler = fill(pulling.here)
    problem(pulling, "old.pt")
    # Too little for the rest of it; and for the new one, but without that part.
    [part] = pulling.parts()
    left = SIZE - part.stat().st_blocks * 512
    os.truncate(filler, filler.stat().st_size - ((16 << 20) + left - 200_000))
    proxy.shape()
    pulling.put("new.pt", noise(5_000_000, 2))
    pulling.wait("new.pt", noise(5_000_000, 2))
    pulling.until(lambda: not pulling.parts(), "nothing is left of the old one")


def test_a_disk_that_becomes_read_only(pulling: Pulling, proxy: ChaosProxy) -> None:
    pulling.put("first.pt", b"first")
    pulling.pull()
    remount(pulling.here, "ro")
    pulling.put("small.pt", b"small")
    pulling.put("big.pt", noise(BIG))
    for name in ("small.pt", "big.pt"):
        assert "ead-only" in problem(pulling, name).message
    assert_work_goes_on(pulling)
    remount(pulling.here, "rw")
    pulling.pull()
    assert pulling.files() == {"first.pt", "small.pt", "big.pt"}


def test_a_disk_that_holds_all_of_ours(
    project: Project, tmp_path: Path, mounts: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on most laptops: the project, what is pulled, and our own notes."""
    disk = mounts.enter_context(small_disk(tmp_path / "disk", DISK))
    monkeypatch.setenv("COLAB_DEVSYNC_STATE_DIR", str(disk / "state"))
    own = Project(project.remote, disk / "project")
    mounts.callback(own.close)
    own.configure(more=rule())
    pulling = Pulling(own)
    pulling.put("first.pt", b"first")
    pulling.pull()
    own.write("train.py", "first\n")
    own.sync()
    filler = fill(disk)
    pulling.put("big.pt", noise(BIG))
    pulling.put("small.pt", b"small" * 1000)
    for name in ("big.pt", "small.pt"):
        assert "the disk here" in problem(pulling, name).message
    with (own.root / "train.py").open("r+b") as stream:
        stream.write(b"again\n")
    own.session.saved(own.root / "train.py")
    own.wait_arrived("train.py")
    told = own.wait(
        lambda: [p for p in own.session.status().problems if not p.path], ""
    )
    assert "takes no notes" in told[0].message
    filler.unlink()
    pulling.wait("big.pt", noise(BIG))
    pulling.wait("small.pt", b"small" * 1000)
    pulling.until(lambda: not own.session.status().problems, "all is well")
    own.close()
    assert own.sync().files == 0
    assert pulling.pull() == (0, 0)  # nothing comes twice
    assert pulling.files() == {"first.pt", "big.pt", "small.pt"}
