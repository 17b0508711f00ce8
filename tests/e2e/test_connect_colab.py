"""Colab from the command line: a new runtime after a yes, sessions, pasted lines."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.place import Place
from tests.support.colab import FakeColab
from tests.support.sshd import Sshd

DEADLINE_S = 30


@pytest.fixture
def colab(
    place: Place, make_sshd: Callable[..., Sshd], tmp_path: Path
) -> Iterator[FakeColab]:
    """One session, `old`; `colab new` makes others."""
    sshd = make_sshd()
    keys = sshd.folder / "authorized_keys"
    with FakeColab(tmp_path / "colab", sshd.port, keys) as colab:
        known = json.loads(colab.sessions.read_text())
        colab.sessions.write_text(json.dumps({"old": {**known["train"]}}))
        place.env.update(colab.env())
        place.env["COLAB_DEVSYNC_COLAB_CLI"] = colab.fake_cli()
        folder = tmp_path / "segmentation"
        folder.mkdir()
        (folder / ".colabremote.toml").write_text(
            '[link]\nprovider = "colab"\nsession = "train"\n'
            f'user = "{sshd.user}"\nhost_key = "{sshd.fingerprint}"\n'
            f'[remote]\nroot = "{tmp_path / "vm"}"\n'
        )
        yield colab


@pytest.fixture
def here(colab: FakeColab, tmp_path: Path) -> Path:
    return tmp_path / "segmentation"


def made(colab: FakeColab) -> list[list[str]]:
    return [call[2:] for call in colab.calls() if "new" in call]


def test_a_new_runtime_is_made_and_connected_to(
    place: Place, colab: FakeColab, here: Path
) -> None:
    words = ("connect", "--new", "--gpu", "T4", "--yes", "--json")
    done = place.run(*words, cwd=here)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["link"] == "online"
    assert b"Creating session 'train'" in done.stderr
    assert made(colab) == [["new", "--session", "train", "--gpu", "T4"]]
    status = json.loads(place.run("status", "--json", cwd=here).stdout)
    shown = [(one["name"], one["hardware"]) for one in status["sessions"]]
    assert shown == [("old", "T4"), ("train", "T4")]
    assert "token" not in json.dumps(status)
    text = place.run("status", cwd=here).stdout.decode()
    assert "old (T4), train (T4)" in text
    again = place.run(*words, cwd=here)
    assert again.returncode == 3
    assert b"a Colab session 'train' already" in again.stderr
    assert len(made(colab)) == 1


def test_without_new_none_is_made(place: Place, colab: FakeColab, here: Path) -> None:
    done = place.run("connect", cwd=here)
    assert done.returncode == 3
    assert b"no Colab session 'train'; the known ones are: old (T4)" in done.stderr
    assert b"connect --new" in done.stderr
    assert made(colab) == []


def test_nobody_to_ask_makes_none(place: Place, colab: FakeColab, here: Path) -> None:
    done = place.run("connect", "--new", cwd=here)
    assert done.returncode == 2
    assert b"compute units" in done.stderr
    assert b"--yes" in done.stderr
    assert made(colab) == []


@pytest.mark.parametrize(("answer", "count"), [(b"n\n", 0), (b"\n", 0), (b"y\n", 1)])
def test_a_person_is_asked(
    place: Place, colab: FakeColab, here: Path, answer: bytes, count: int
) -> None:
    terminal, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "colab_devsync", "connect", "--new"],
        stdin=other,
        stdout=other,
        stderr=other,
        cwd=here,
        env=place.env,
    )
    os.close(other)
    said = b""
    try:
        while b"[y/N]" not in said:
            assert select.select([terminal], [], [], DEADLINE_S)[0], said
            said += os.read(terminal, 4096)
        assert b"(no GPU)" in said
        assert b"colab stop --session train" in said
        os.write(terminal, answer)
        while True:
            assert select.select([terminal], [], [], DEADLINE_S)[0], said
            try:
                said += os.read(terminal, 4096)
            except OSError:  # its end of the terminal is closed
                break
        assert process.wait(DEADLINE_S) == (0 if count else 130)
    finally:
        os.close(terminal)
    assert len(made(colab)) == count


def test_googles_command_fails(place: Place, colab: FakeColab, here: Path) -> None:
    place.env["COLAB_DEVSYNC_COLAB_CLI"] = colab.fake_cli(fails="no quota")
    done = place.run("connect", "--new", "--gpu", "H100", "--yes", cwd=here)
    assert done.returncode == 3
    assert b"no quota" in done.stderr
    assert b"made no runtime" in done.stderr


def test_options_that_belong_to_new(place: Place, colab: FakeColab, here: Path) -> None:
    assert place.run("connect", "--gpu", "T4", cwd=here).returncode == 2
    text = (here / ".colabremote.toml").read_text()
    (here / ".colabremote.toml").write_text(
        text.replace('provider = "colab"\nsession = "train"', 'provider = "sandbox"')
    )
    done = place.run("connect", "--new", "--yes", cwd=here)
    assert done.returncode == 2
    assert b'provider in [link] is "sandbox"' in done.stderr
