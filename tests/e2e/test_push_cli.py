"""`push` on the command line: results, errors, ctrl-C, and a daemon that is killed."""

from __future__ import annotations

import json
import os
import signal
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.place import Place
from tests.e2e.projects import write_config
from tests.e2e.test_cli_and_vm import wait_until
from tests.support.files import noted_pieces
from tests.support.proxy import ChaosProxy
from tests.support.remotes import Remote

MIB = 1 << 20
PUSH = [sys.executable, "-m", "colab_devsync", "push"]


@pytest.fixture
def here(tmp_path: Path, remote: Remote, proxy: ChaosProxy) -> Path:
    folder = tmp_path / "segmentation"
    folder.mkdir()
    write_config(folder, remote, port=proxy.port)
    return folder


def only(data: bytes) -> dict[str, Any]:
    (line,) = data.decode().splitlines()
    body: dict[str, Any] = json.loads(line)
    return body


def test_an_archive_in_one_command(place: Place, here: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(here / "data_mri.zip", "w") as archive:
        archive.writestr("scan/1.nii", b"brain" * 1000)
    target = tmp_path / "root/data"
    done = place.run("push", "data_mri.zip", str(target), "--unpack", cwd=here)
    assert done.returncode == 0, done.stderr
    assert f"pushed to {target} in" in done.stdout.decode()
    assert "Unpacked 1 file (5.0 kB)." in done.stdout.decode()
    assert (target / "scan/1.nii").read_bytes() == b"brain" * 1000

    body = only(place.run("push", "data_mri.zip", "data/", "--json", cwd=here).stdout)
    assert (body["files"], body["bytes"] > 5000, body["same"]) == (1, True, 0)
    again = place.run("push", "data_mri.zip", "data/", cwd=here)
    assert "There already: 1 file." in again.stdout.decode()


def test_errors_have_their_exit_codes(place: Place, here: Path) -> None:
    (here / "text.txt").write_text("text")
    for arguments, code, words in (
        (("nothing", "x"), 5, "There is no"),
        (("text.txt", "x", "--unpack"), 5, "no zip and no tar"),
        (("text.txt", "../x"), 4, "has no"),
        (("text.txt",), 2, "--checkpoints"),
        (("text.txt", "x", "--keep-archive"), 2, "--unpack"),
        (("--checkpoints",), 2, "no pull rule"),
    ):
        done = place.run("push", *arguments, cwd=here)
        assert (done.returncode, words in done.stderr.decode()) == (code, True), done


@pytest.mark.parametrize("how", ["ctrl-C", "killed daemon"])
def test_the_same_command_sends_the_rest(
    place: Place, here: Path, tmp_path: Path, proxy: ChaosProxy, how: str
) -> None:
    assert place.run("sync", cwd=here).returncode == 0
    local, target = here / "data.bin", tmp_path / "there"
    local.write_bytes(os.urandom(8 * MIB))
    proxy.shape(bandwidth=6e6)
    project = ["--project", str(here)]
    process = place.start([*PUSH, *project, str(local), f"{target}/data.bin"])
    wait_until(lambda: noted_pieces(target) > 2 * MIB, 30)
    if how == "ctrl-C":
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 130
        assert b"the same command sends the rest" in said
    else:
        os.kill(place.daemon_pids()[0], signal.SIGKILL)
        _, said = process.communicate(timeout=30)
        assert process.returncode != 0
        assert said
    assert not (target / "data.bin").exists()
    proxy.shape(bandwidth=0)
    stored = noted_pieces(target)
    connections = proxy.counts().connections

    done = only(
        place.run(
            "push", str(local), f"{target}/data.bin", "--json", cwd=here, timeout_s=60
        ).stdout
    )
    assert done["files"] == 1
    tries = max(1, proxy.counts().connections - connections)
    assert done["sent"] <= (8 * MIB - stored) * tries * 1.05  # and frames
    assert (target / "data.bin").read_bytes() == local.read_bytes()
    assert os.listdir(target) == ["data.bin"]
