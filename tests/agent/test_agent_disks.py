"""Disks that are full, read-only, elsewhere or not ours."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from colab_devsync.agent import hashing, wire
from colab_devsync.errors import RemoteRefused
from tests.agent.conftest import Start
from tests.agent.driver import Driven, file_entry, tree_of

OLD, NEW = b"old\n", b"new\n"
OLD_HASH = hashing.of_bytes(OLD)

Wrap = Callable[[str], str]


def run_with(folder: Path, python: str, prelude: str, *, under: str = "") -> str:
    """A command that runs `prelude` in a shell and then becomes `python`."""
    inner = f'{prelude}\nexec {shlex.quote(python)} "$@"'
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nexec {under} sh -c {shlex.quote(inner)} sh "$@"\n')
    script.chmod(0o755)
    return str(script)


def private_mounts() -> str:
    """How to get mounts nobody else sees; "" if this machine has no way."""
    if not shutil.which("unshare"):
        return ""
    for way in ("unshare -m", "unshare -Urm", "sudo -n unshare -m"):
        test = [*way.split(), "sh", "-c", "mount -t tmpfs none /mnt"]
        if subprocess.run(test, capture_output=True).returncode == 0:
            return way
    return ""


@pytest.fixture
def mounted(tmp_path: Path, python: str) -> Wrap:
    """Wraps the interpreter so that it sees other file systems."""
    way = private_mounts()
    if not way:
        pytest.skip("no private mounts: needs Linux, and root or user namespaces")
    return lambda prelude: run_with(tmp_path, python, prelude, under=way)


def seen_by(agent: Driven) -> Path:
    """The root as the agent's own mounts show it."""
    return Path(f"/proc/{agent.process.pid}/root{agent.root}")


def fill(path: Path) -> None:
    """Writes until the disk takes no more."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as stream:
        while True:
            stream.write(b"x" * 1024)


@pytest.mark.few
def test_a_full_disk(start: Start, root: Path, mounted: Wrap) -> None:
    root.mkdir()
    python = mounted(f"mount -t tmpfs -o size=256k none {root}")
    agent = Driven(root, python)
    with agent:
        assert agent.put("a", OLD) == wire.OK
        big = os.urandom(300_000)
        status, _, reason = agent.put_result("a", big, OLD_HASH)
        assert (status, reason) == (wire.REFUSED, "the VM's disk is full")
        assert agent.read("a")[1] == OLD
        assert os.listdir(seen_by(agent) / ".colab-devsync/staging") == []
        assert agent.put("a", NEW, OLD_HASH) == wire.OK  # there is room for this
        assert agent.digest_is({"a": NEW})


@pytest.mark.few
def test_a_disk_filled_to_the_last_byte(root: Path, mounted: Wrap) -> None:
    root.mkdir()
    agent = Driven(root, mounted(f"mount -t tmpfs -o size=256k none {root}"))
    with agent:
        assert agent.put("a", OLD) == wire.OK
        filler = seen_by(agent) / "filler"
        fill(filler)
        for _ in range(3):  # the log can't be written either: no matter
            assert agent.put_result("a", NEW, OLD_HASH)[0] == wire.REFUSED
        assert agent.read("a")[1] == OLD
        assert agent.delete("a", OLD_HASH) == wire.OK
        filler.unlink()
        assert agent.put("a", NEW) == wire.OK
        assert agent.digest_is({"a": NEW})


def test_a_file_larger_than_the_limit(tmp_path: Path, root: Path, python: str) -> None:
    limited = run_with(tmp_path, python, "ulimit -f 64")  # blocks of 512 or 1024 bytes
    with Driven(root, limited) as agent:
        status, _, reason = agent.put_result("a", bytes(1 << 20))
        assert status == wire.REFUSED
        assert reason == "the file is too large for the VM's file system or limits"
        assert tree_of(root) == {}
        assert agent.temporaries() == []
        assert agent.put("a", NEW) == wire.OK


@pytest.mark.few
def test_few_open_files_are_enough(tmp_path: Path, root: Path, python: str) -> None:
    with Driven(root, run_with(tmp_path, python, "ulimit -n 128")) as agent:
        batch = [file_entry(f"d{i}/f", b"x") for i in range(500)]
        results = agent.put_entries(*[(entry, b"x") for entry in batch])
        assert {result[0] for result in results} == {wire.OK}


@pytest.mark.few
def test_a_read_only_folder(root: Path, mounted: Wrap) -> None:
    (root / "ro").mkdir(parents=True)
    (root / "ro/a").write_bytes(OLD)
    python = mounted(
        f"mount --bind {root}/ro {root}/ro && mount -o remount,bind,ro {root}/ro"
    )
    with Driven(root, python) as agent:
        words = (wire.REFUSED, "", "the file system on the VM is read-only")
        assert agent.put_result("ro/new", NEW) == words
        assert agent.put_result("ro/sub/new", NEW) == words
        assert agent.put_result("ro/a", NEW, OLD_HASH) == words
        assert agent.delete("ro/a", OLD_HASH) == wire.REFUSED
        assert agent.put("a", NEW) == wire.OK
        assert os.listdir(root / ".colab-devsync/staging") == []
    assert tree_of(root) == {"ro/a": OLD, "a": NEW}


@pytest.mark.few
def test_another_disk_inside_the_root(root: Path, mounted: Wrap) -> None:
    (root / "disk").mkdir(parents=True)
    with Driven(root, mounted(f"mount -t tmpfs none {root}/disk")) as agent:
        assert agent.put("disk/a/b", OLD, executable=True) == wire.OK
        assert agent.put("disk/a/b", NEW, OLD_HASH) == wire.OK
        assert agent.link("disk/alias", "a/b")[0] == wire.OK
        assert agent.link("disk/alias", "a", hashing.of_link("a/b"))[0] == wire.OK
        there = seen_by(agent)
        assert tree_of(there) == {"disk/a/b": NEW, "disk/alias": b"-> a"}
        assert os.access(there / "disk/a/b", os.X_OK)
        assert os.listdir(there / ".colab-devsync/staging") == []
        assert agent.delete("disk/a/b", hashing.of_bytes(NEW)) == wire.OK
        assert agent.delete("disk/alias", hashing.of_link("a")) == wire.OK
        assert agent.digest_is({})


@pytest.mark.few
@pytest.mark.skipif(
    sys.platform == "win32" or os.getuid() != 0, reason="only root can become another"
)
def test_what_another_user_forbids(tmp_path: Path, root: Path, python: str) -> None:
    if not shutil.which("setpriv"):
        pytest.skip("setpriv (util-linux) is missing")
    root.mkdir()
    (root / "theirs").mkdir(mode=0o755)
    (root / "secret").write_bytes(OLD)
    (root / "secret").chmod(0o600)
    os.chown(root, 65534, 65534)
    for above in tmp_path.parents[:-2]:
        if not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    under = "setpriv --reuid 65534 --regid 65534 --clear-groups"
    usable = [
        path
        for path in (python, "/usr/bin/python3")
        if subprocess.run([*under.split(), path, "-c", ""]).returncode == 0
    ]
    if not usable:
        pytest.skip("no Python here is for other users")
    python = usable[0]
    with Driven(root, run_with(tmp_path, python, "", under=under)) as agent:
        denied = (wire.REFUSED, "", "permission denied on the VM")
        assert agent.put_result("theirs/a", NEW) == denied
        assert agent.put_result("secret", NEW) == denied
        assert agent.look("secret") == ["unreadable"]
        assert agent.put("mine", NEW) == wire.OK


# --- roots that can't be ----------------------------------------------------------


def test_a_root_below_a_file(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    with pytest.raises(RemoteRefused) as refused:
        start(tmp_path / "file/root")
    assert refused.value.message == (
        f"Cannot use {tmp_path}/file/root on the VM: "
        "a file stands on the VM where a folder is needed."
    )
    assert "`root` in [remote]" in refused.value.hint


def test_a_root_that_is_a_file(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    with pytest.raises(RemoteRefused, match="a file stands"):
        start(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == OLD


@pytest.mark.few
def test_a_root_on_a_read_only_disk(root: Path, mounted: Wrap) -> None:
    root.mkdir()
    with pytest.raises(RemoteRefused, match="read-only"):
        Driven(root, mounted(f"mount -t tmpfs -o ro none {root}"))


@pytest.mark.few
def test_a_root_on_a_full_disk(root: Path, mounted: Wrap) -> None:
    root.mkdir()
    fill = f"mount -t tmpfs -o size=16k none {root}; cat /dev/zero > {root}/x 2>&-"
    with pytest.raises(RemoteRefused, match="disk is full"):
        Driven(root, mounted(fill))
