"""Archives that are pushed and unpacked on the VM."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from colab_devsync.core.events import Progress
from colab_devsync.core.pushing import PushSpec
from colab_devsync.errors import PushError, RemoteRefused
from tests.integration.test_push import made, push, tree_of
from tests.support.project import Project
from tests.support.proxy import ChaosProxy

MIB = 1 << 20


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A folder that archives are made of."""
    folder = tmp_path / "data_mri"
    for number in range(40):
        made(folder / f"images/{number}.bin", 500 * number, number)
    made(folder / "big.bin", 3 * MIB)
    (folder / "labels").mkdir()
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    return folder


def zipped(folder: Path) -> Path:
    path = folder.parent / "data_mri.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for one in sorted(folder.rglob("*")):
            archive.write(one, one.relative_to(folder))
    return path


def tarred(folder: Path, kind: str) -> Path:
    path = folder.parent / f"data.tar.{kind}"
    with tarfile.open(path, f"w:{kind}") as archive:  # type: ignore[call-overload]
        archive.add(folder, ".")
    return path


def there(tmp_path: Path) -> Path:
    return tmp_path / "root/data"


def test_the_recipes_upload_in_one_command_survives_the_tunnel(
    project: Project, proxy: ChaosProxy, tmp_path: Path, dataset: Path
) -> None:
    """`scp -P 10004 data_mri.zip root@...:/root/data`, with a cut now and then."""
    project.configure(port=proxy.port)
    project.sync()
    archive = zipped(dataset)
    proxy.shape(bandwidth=8e6)
    cuts = iter([400_000, 700_000, 50_000, 900_000, 600_000])
    proxy.cut_after("up", 30_000)

    def seen(progress: Any) -> None:
        if progress.message == "waiting for the link" and (cut := next(cuts, None)):
            proxy.cut_after("up", cut)

    spec = PushSpec(archive, str(there(tmp_path)), unpack=True)
    done = project.session.pushes.start(spec, progress=seen).result(120)
    assert next(cuts, None) is None or done.sent >= archive.stat().st_size
    assert tree_of(there(tmp_path)) == tree_of(dataset)
    assert os.access(there(tmp_path) / "run.sh", os.X_OK)
    assert done.unpacked is not None
    assert done.unpacked["files"] + done.unpacked["same"] == 42
    assert project.session.conflicts() == ()


@pytest.mark.parametrize("kind", ["", "gz", "bz2", "xz"])
def test_tar_archives_of_all_kinds(
    project: Project, tmp_path: Path, dataset: Path, kind: str
) -> None:
    (dataset / "latest").symlink_to("images/3.bin")
    os.link(dataset / "images/4.bin", dataset / "images/hard")
    target = there(tmp_path)
    made(target / "theirs.txt", 3)
    done = push(project, tarred(dataset, kind), str(target), unpack=True)
    found = tree_of(target)
    assert len(found.pop("theirs.txt")) == 3
    assert found == tree_of(dataset)
    assert done.target == str(target)
    again = push(project, tarred(dataset, kind), str(target), unpack=True)
    assert again.unpacked is not None
    assert again.unpacked["files"] == 44
    assert {**tree_of(target)} == {
        **tree_of(dataset),
        "theirs.txt": found_theirs(target),
    }


def found_theirs(target: Path) -> bytes:
    return (target / "theirs.txt").read_bytes()


def test_the_archive_stays_if_asked(
    project: Project, tmp_path: Path, dataset: Path
) -> None:
    archive = zipped(dataset)
    push(project, archive, str(there(tmp_path)), unpack=True, keep_archive=True)
    found = tree_of(there(tmp_path))
    assert found.pop("data_mri.zip") == archive.read_bytes()
    assert found == tree_of(dataset)


def member(name: str, **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def tar_of(path: Path, *members: tarfile.TarInfo, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for info in members:
            content = b"x" * info.size
            archive.addfile(info, io.BytesIO(content) if info.size else None)
    return path


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "a/../../out"])
def test_an_archive_that_leads_out_is_refused(
    project: Project, tmp_path: Path, name: str
) -> None:
    bad = tar_of(tmp_path / "bad.tgz", member("fine", size=9), member(name, size=5))
    with pytest.raises(PushError, match="it holds"):
        push(project, bad, str(there(tmp_path)), unpack=True)
    assert os.listdir(there(tmp_path)) == []
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(name, "out")
    with pytest.raises(PushError, match=r"cannot be unpacked: it holds"):
        push(project, tmp_path / "bad.zip", str(there(tmp_path)), unpack=True)
    assert not (there(tmp_path).parent / "out").exists()


def test_links_that_lead_out_are_left_out_and_not_followed(
    project: Project, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link, hard = tarfile.SYMTYPE, tarfile.LNKTYPE
    archive = tar_of(
        tmp_path / "links.tgz",
        member("away", type=link, linkname=str(outside)),
        member("away/file", size=4),
        member("up", type=link, linkname="../outside"),
        member("here", type=link, linkname="away"),
        member("here/file", size=4),
        member("pipe", type=tarfile.FIFOTYPE),
        member("copy", type=hard, linkname="away/file"),
    )
    done = push(project, archive, str(there(tmp_path)), unpack=True)
    assert done.unpacked is not None
    skipped = {one.partition(":")[0] for one in done.unpacked["skipped"]}
    assert skipped == {"away", "up", "here/file", "pipe"}
    assert os.listdir(outside) == []
    found = tree_of(there(tmp_path))
    assert found == {"away/file": b"xxxx", "copy": b"xxxx", "here": "away"}


def test_a_cut_while_it_is_brought_to_disk_sends_nothing_again(
    project: Project, proxy: ChaosProxy, tmp_path: Path, dataset: Path
) -> None:
    project.configure(port=proxy.port)
    project.sync()
    cuts: list[str] = []

    def seen(progress: Progress) -> None:
        if progress.message == "writing to disk" and not cuts:
            cuts.append(progress.message)
            proxy.reset_all()

    archive = zipped(dataset)
    spec = PushSpec(archive, str(there(tmp_path)), unpack=True)
    done = project.session.pushes.start(spec, progress=seen).result(60)
    assert cuts
    assert done.sent < archive.stat().st_size * 1.1
    assert done.unpacked is not None
    assert done.unpacked["files"] == 42
    assert tree_of(there(tmp_path)) == tree_of(dataset)


def test_archives_that_are_damaged_or_none(
    project: Project, tmp_path: Path, dataset: Path
) -> None:
    target = there(tmp_path)
    made(target / "images/0.bin", 7)
    whole = tarred(dataset, "gz").read_bytes()
    (tmp_path / "cut.tgz").write_bytes(whole[: len(whole) * 2 // 3] + whole[-8:])
    with pytest.raises(PushError, match="damaged"):
        push(project, tmp_path / "cut.tgz", str(target), unpack=True)
    assert [*tree_of(target)] == ["images/0.bin"] or "big.bin" not in tree_of(target)
    (tmp_path / "no.zip").write_bytes(b"PK\3\4" + bytes(500))
    (tmp_path / "no.txt").write_bytes(b"hello, this is no archive" * 50)
    for name in ("no.zip", "no.txt"):
        with pytest.raises(PushError, match="cannot be unpacked"):
            push(project, tmp_path / name, str(target), unpack=True)
    with pytest.raises(PushError, match="is a folder, not an archive") as caught:
        push(project, dataset, str(target), unpack=True)
    assert caught.value.hint


def test_a_bomb_is_refused_before_anything_is_sent(
    project: Project, tmp_path: Path
) -> None:
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w") as archive:
        for number in range(2000):
            archive.writestr(f"{number}", b"x")
            archive.infolist()[-1].file_size = 4_000_000_000  # so its directory says
    with pytest.raises(RemoteRefused, match=r"it needs \d.* TB, and .* GB free"):
        push(project, bomb, str(there(tmp_path)), unpack=True)
