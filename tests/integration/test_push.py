"""Data that is pushed: where it goes, that it is whole, what is sent of it again."""

from __future__ import annotations

import os
import random
import sys
import threading
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from colab_devsync.core.events import Progress
from colab_devsync.core.pushing import PushResult, PushSpec
from colab_devsync.errors import PushError, RemoteRefused
from tests.support.files import noted_pieces
from tests.support.processes import agents, wait_until_gone
from tests.support.project import Project
from tests.support.proxy import ChaosProxy

PUSH_S = 60.0
MIB = 1 << 20


def push(project: Project, local: Path, remote: str, **options: Any) -> PushResult:
    spec = PushSpec(local, remote, **options)
    return project.session.pushes.start(spec).result(PUSH_S)


def made(path: Path, size: int, seed: int = 1) -> Path:
    """A file that does not compress."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(random.Random(seed).randbytes(size))
    return path


def tree_of(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        for name in names + [n for n in folders if (here / n).is_symlink()]:
            path = here / name
            inside = path.relative_to(root).as_posix()
            link = path.is_symlink()
            found[inside] = os.readlink(path) if link else path.read_bytes()
        if not names and not folders:
            found[here.relative_to(root).as_posix() + "/"] = ""
    return found


def test_a_file_goes_where_scp_would_put_it(project: Project, tmp_path: Path) -> None:
    local = made(tmp_path / "data.bin", 3 * MIB)
    local.chmod(0o755)
    os.utime(local, ns=(10**18 + 7, 10**18 + 7))
    outside = tmp_path / "elsewhere"

    first = push(project, local, str(outside / "new/name"))
    assert (first.files, first.bytes, first.same) == (1, 3 * MIB, 0)
    assert first.target == str(outside / "new/name")
    assert (outside / "new/name").read_bytes() == local.read_bytes()
    about = (outside / "new/name").stat()
    assert about.st_mtime_ns == 10**18 + 7
    assert about.st_mode & 0o100

    push(project, local, str(outside / "new"))
    assert (outside / "new/data.bin").read_bytes() == local.read_bytes()
    push(project, local, "inside/the/project/")
    assert project.there("inside/the/project/data.bin") == local.read_bytes()
    assert sorted(os.listdir(outside / "new")) == ["data.bin", "name"]
    assert os.listdir(project.vm / "inside/the/project") == ["data.bin"]


def test_again_sends_nothing_and_says_what_it_replaces(
    project: Project, tmp_path: Path
) -> None:
    local = made(tmp_path / "data.bin", MIB)
    target = tmp_path / "there"
    target.mkdir()
    push(project, local, str(target))
    again = push(project, local, str(target))
    assert (again.files, again.sent, again.same, again.replaced) == (0, 0, 1, ())
    made(local, MIB + 1, seed=2)
    third = push(project, local, str(target))
    assert (third.files, third.replaced) == (1, ("data.bin",))
    assert (target / "data.bin").read_bytes() == local.read_bytes()


def test_a_folder_is_merged(project: Project, tmp_path: Path) -> None:
    local = tmp_path / "dataset"
    for number in range(300):
        made(local / f"train/{number % 7}/{number}.txt", 10 * number, number)
    made(local / "big.bin", 5 * MIB)
    (local / "empty/folder").mkdir(parents=True)
    (local / "none").touch()
    (local / "latest").symlink_to("train/0")
    (local / "out").symlink_to("/etc/passwd")
    os.mkfifo(local / "pipe")
    target = tmp_path / "root/data"

    done = push(project, local, str(target))
    expected = {
        path: content
        for path, content in tree_of_files(local).items()
        if path not in ("out", "pipe")
    }
    assert tree_of(target) == expected
    assert done.files == 303
    assert {one.path for one in done.skipped} == {"out", "pipe"}

    (target / "theirs.txt").write_text("theirs")
    made(local / "train/1/1.txt", 99)
    again = push(project, local, str(target))  # the same push: the same place
    assert (again.files, again.replaced) == (1, ("train/1/1.txt",))
    assert tree_of(target).pop("theirs.txt") == b"theirs"
    other = tmp_path / "other" / "dataset"
    made(other / "x.txt", 5)
    push(project, other, str(target.parent))
    assert (target.parent / "dataset/x.txt").exists()


def tree_of_files(root: Path) -> dict[str, Any]:
    (root / "pipe").unlink(missing_ok=True)
    return tree_of(root)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("at", [30_000, 400_000, 2_000_000, 7_900_000])
def test_a_cut_costs_only_what_was_on_its_way(
    project: Project, proxy: ChaosProxy, tmp_path: Path, at: int
) -> None:
    project.configure(port=proxy.port)
    project.sync()
    project.log.clear()
    local = made(tmp_path / "data.bin", 8 * MIB)
    there = tmp_path / "there"
    [agent] = agents(project.vm)
    proxy.refuse()
    proxy.cut_after("up", at)
    spec = PushSpec(local, str(there / "data.bin"))
    future = project.session.pushes.start(spec)
    project.wait_was("lost")
    wait_until_gone(agent)  # it stores no more
    stored = noted_pieces(there)
    before = proxy.counts().up
    proxy.refuse(False)
    done = future.result(PUSH_S)
    assert proxy.counts().up - before < (8 * MIB - stored) * 1.05 + 200_000
    assert (there / "data.bin").read_bytes() == local.read_bytes()
    assert done.files == 1
    assert os.listdir(there) == ["data.bin"]


def test_a_push_that_was_stopped_goes_on(
    project: Project, proxy: ChaosProxy, tmp_path: Path
) -> None:
    project.configure(port=proxy.port)
    project.sync()
    proxy.shape(bandwidth=8e6)
    local = made(tmp_path / "data.bin", 8 * MIB)
    there = tmp_path / "there"
    cancel = threading.Event()

    def seen(progress: Progress) -> None:
        if progress.bytes > 4 * MIB:
            cancel.set()

    spec = PushSpec(local, str(there / "data.bin"))
    with pytest.raises(CancelledError):
        project.session.pushes.start(spec, progress=seen, cancel=cancel).result(PUSH_S)
    assert not (there / "data.bin").exists()
    project.close()
    stored = noted_pieces(there)
    assert stored > 4 * MIB
    connections = proxy.counts().connections
    done = push(project, local, spec.remote)
    tries = proxy.counts().connections - connections
    assert done.sent <= (8 * MIB - stored) * tries * 1.05  # and frames
    assert (there / "data.bin").read_bytes() == local.read_bytes()
    assert os.listdir(there) == ["data.bin"]


def test_what_cannot_be_pushed(project: Project, tmp_path: Path) -> None:
    local = made(tmp_path / "data.bin", 10)
    folder = made(tmp_path / "folder/a", 10).parent
    (tmp_path / "file").write_text("a file")
    with pytest.raises(PushError, match="There is no"):
        push(project, tmp_path / "nothing", "x")
    for remote in ("file/x", "file/"):
        with pytest.raises(RemoteRefused, match="file"):
            push(project, local, f"{tmp_path}/{remote}")
    with pytest.raises(RemoteRefused, match="file"):
        push(project, folder, f"{tmp_path}/file")
    with pytest.raises(RemoteRefused, match=r'has no "\.\."'):
        push(project, local, "../x")
    with pytest.raises(RemoteRefused, match="reserved"):
        push(project, local, ".colab-devsync/x")
    assert (tmp_path / "file").read_text() == "a file"


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_names_of_any_bytes(project: Project, tmp_path: Path) -> None:
    local = tmp_path / "names"
    local.mkdir()
    for name in (b"caf\xe9", "größe".encode(), b"new\nline", b" "):
        Path(os.fsdecode(os.fsencode(local) + b"/" + name)).write_bytes(name)
    push(project, local, str(tmp_path / "there"))
    assert tree_of(tmp_path / "there") == tree_of(local)
