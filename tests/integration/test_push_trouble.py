"""Pushes to disks that are full, and of files that change meanwhile: what is on the VM
is a whole version, or nothing is and a person is told."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from colab_devsync.core.events import Progress
from colab_devsync.core.pushing import PushResult, PushSpec
from colab_devsync.errors import PushError, RemoteRefused
from tests.integration.test_push import made, push, tree_of
from tests.support.disks import fill, remount, small_disk
from tests.support.project import Project
from tests.support.proxy import ChaosProxy
from tests.support.pulls import noise

MIB = 1 << 20
SIZE = 4 * MIB

Change = Callable[[Path], None]

pytestmark = pytest.mark.openssh


def push_and(
    project: Project, proxy: ChaosProxy, local: Path, remote: Path, meanwhile: Change
) -> PushResult:
    """Pushes slowly; `meanwhile` happens to `local` when some of it is there."""
    project.configure(port=proxy.port)
    project.sync()
    proxy.shape(bandwidth=1_000_000)
    is_done: list[bool] = []

    def seen(progress: Progress) -> None:
        if progress.bytes > SIZE // 8 and not is_done:
            is_done.append(True)
            meanwhile(local)
            proxy.shape()

    spec = PushSpec(local, str(remote))
    try:
        return project.session.pushes.start(spec, progress=seen).result(60)
    finally:
        assert is_done


def grow(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(noise(100_000, 9))


def shrink(path: Path) -> None:
    os.truncate(path, SIZE // 8)


def rewrite(path: Path) -> None:
    """In place, all of it, to the same size."""
    with path.open("r+b") as stream:
        stream.write(noise(SIZE, 9))


def replace(path: Path) -> None:
    """By another file of the same size and time."""
    other = path.with_suffix(".new")
    other.write_bytes(noise(SIZE, 9))
    about = path.stat()
    os.utime(other, ns=(about.st_mtime_ns, about.st_mtime_ns))
    os.replace(other, path)


@pytest.mark.parametrize("change", [grow, shrink, rewrite, replace])
def test_a_file_that_changes_meanwhile_arrives_as_it_is_at_the_end(
    project: Project, proxy: ChaosProxy, tmp_path: Path, change: Change
) -> None:
    local = made(tmp_path / "data.bin", SIZE)
    there = tmp_path / "there" / "data.bin"
    done = push_and(project, proxy, local, there, change)
    assert there.read_bytes() == local.read_bytes() != noise(SIZE)
    assert (done.files, done.bytes) == (1, local.stat().st_size)
    assert os.listdir(there.parent) == ["data.bin"]


def test_a_file_that_vanishes_meanwhile_is_named_and_the_rest_arrives(
    project: Project, proxy: ChaosProxy, tmp_path: Path
) -> None:
    local = tmp_path / "dataset"
    made(local / "a.bin", SIZE)
    made(local / "z.txt", 10)
    there = tmp_path / "there"
    there.mkdir()
    (there / "dataset").mkdir()
    made(there / "dataset/a.bin", 7)

    def vanish(path: Path) -> None:
        (path / "a.bin").unlink()

    with pytest.raises(
        PushError, match=r"^1 file could not be pushed.*a\.bin: No such"
    ):
        push_and(project, proxy, local, there, vanish)
    found = {k: v for k, v in tree_of(there / "dataset").items() if "devsync" not in k}
    assert found == {
        "a.bin": (there / "dataset/a.bin").read_bytes(),
        "z.txt": (local / "z.txt").read_bytes(),
    }
    assert (there / "dataset/a.bin").stat().st_size == 7


def test_a_vm_disk_that_fills_up_meanwhile(
    project: Project, proxy: ChaosProxy, tmp_path: Path
) -> None:
    local = made(tmp_path / "data.bin", SIZE)
    fillers: list[Path] = []
    with ExitStack() as stack:
        stack.callback(project.close)
        disk = stack.enter_context(small_disk(tmp_path / "disk", "8m"))
        made(disk / "data.bin", 7)
        old = (disk / "data.bin").read_bytes()
        with pytest.raises(RemoteRefused, match=r"data\.bin.*the VM's disk is full"):
            push_and(
                project,
                proxy,
                local,
                disk / "data.bin",
                lambda _: fillers.append(fill(disk)),
            )
        assert (disk / "data.bin").read_bytes() == old
        fillers[0].unlink()
        done = push(project, local, str(disk / "data.bin"))
        assert done.replaced == ("data.bin",)
        assert (disk / "data.bin").read_bytes() == local.read_bytes()
        assert os.listdir(disk) == ["data.bin"]


def test_a_file_from_tomorrow_is_sent_once(project: Project, tmp_path: Path) -> None:
    """As clocks that do not agree make them."""
    local = made(tmp_path / "data.bin", SIZE)
    when = int((time.time() + 86_400) * 1e9)
    os.utime(local, ns=(when, when))
    there = tmp_path / "there" / "data.bin"
    done = push(project, local, str(there))
    assert done.files == 1
    assert done.sent < SIZE * 1.1
    assert there.stat().st_mtime_ns == when
    assert push(project, local, str(there)).same == 1


def test_too_large_for_the_vm_is_said_before_it_is_sent(
    project: Project, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        local = made(tmp_path / "data.bin", SIZE)
        with pytest.raises(RemoteRefused, match=r"needs 4\.2 MB, and .* has 2\.1 MB"):
            push(project, local, str(disk / "data.bin"))
        assert os.listdir(disk) == []
        project.close()


def test_a_vm_disk_that_fills_up_while_an_archive_is_unpacked(
    project: Project, tmp_path: Path
) -> None:
    archive = tmp_path / "many.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for number in range(100):
            packed.writestr(f"{number:03}.txt", f"{number}\n" * 100)
    with ExitStack() as stack:
        stack.callback(project.close)
        # Room enough, but not for so many files.
        disk = stack.enter_context(small_disk(tmp_path / "disk", "80m", files=50))
        (disk / "001.txt").write_text("before")
        (disk / "theirs").write_text("theirs")
        with pytest.raises(PushError, match=r"many\.zip.*disk is full") as caught:
            push(project, archive, str(disk), unpack=True)
        assert "replaced 1 file already" in caught.value.hint
        assert "need not be sent again" in caught.value.hint
        assert {one.name for one in disk.glob("*.*t*") if one.is_file()} == {"001.txt"}
        assert (disk / "theirs").read_text() == "theirs"
        remount(disk, "nr_inodes=500")
        done = push(project, archive, str(disk), unpack=True)
        assert done.sent == 0
        assert done.unpacked is not None
        assert done.unpacked["files"] + done.unpacked["same"] == 100
        assert len(list(disk.glob("*.txt"))) == 100
        assert len(os.listdir(disk)) == 101
