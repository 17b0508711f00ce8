"""`ssh-config`: the alias for plain ssh, and the user's own files left as they were."""

from __future__ import annotations

import json
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from watchfiles import watch

from tests.e2e.place import SANDBOX, Place
from tests.e2e.test_terminal import Terminal

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="the sandbox needs Linux or macOS"
)

ALIAS = "colab-segmentation"
MINE = b"Host other\n    HostName 203.0.113.7\n"


class Home:
    """~/.ssh of one test."""

    def __init__(self, place: Place) -> None:
        self.ssh = place.home / ".ssh"
        self.config = self.ssh / "config"
        self.own = self.ssh / "colab-devsync.config"
        self.backup = self.ssh / "config.before-colab-devsync"

    def write(self, data: bytes, mode: int = 0o644) -> None:
        self.ssh.mkdir(mode=0o700, exist_ok=True)
        self.config.write_bytes(data)
        self.config.chmod(mode)

    def ssh_says(self, config: Path, alias: str = ALIAS) -> str:
        argv = ["ssh", "-F", str(config), "-oBatchMode=yes", alias, "pwd"]
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=30, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def port(self) -> int:
        found = re.search(r"Port (\d+)", self.own.read_text())
        assert found is not None
        return int(found[1])


@pytest.fixture
def home(place: Place) -> Home:
    return Home(place)


def ok(done: subprocess.CompletedProcess[bytes]) -> subprocess.CompletedProcess[bytes]:
    assert done.returncode == 0, done.stderr
    return done


def test_without_a_terminal_the_users_file_is_not_touched(
    place: Place, project: Path, home: Home
) -> None:
    home.write(MINE)
    done = ok(place.run("ssh-config", cwd=project))
    assert home.config.read_bytes() == MINE
    assert f"Include {home.own}" in done.stderr.decode()
    assert f"ssh {ALIAS}" in done.stdout.decode()
    assert stat.S_IMODE(home.own.stat().st_mode) == 0o600
    vm = place.home / "cache" / "sandbox" / "segmentation" / "vm"
    assert home.ssh_says(home.own) == f"{vm}\n"


def test_one_line_is_added_once_and_taken_out_again(
    place: Place, project: Path, home: Home
) -> None:
    home.write(MINE, 0o640)
    for _ in range(2):
        ok(place.run("ssh-config", "--yes", cwd=project))
        assert home.config.read_bytes() == b"Include %s\n" % bytes(home.own) + MINE
        assert home.backup.read_bytes() == MINE
        home.ssh_says(home.config)
    for _ in range(2):
        done = ok(place.run("ssh-config", "--remove", "--json", cwd=project))
        assert json.loads(done.stdout)["included"] is False
    assert home.config.read_bytes() == MINE
    assert stat.S_IMODE(home.config.stat().st_mode) == 0o640
    assert list(home.ssh.iterdir()) == [home.config]


def test_what_was_not_there_is_made_and_what_changed_is_kept(
    place: Place, project: Path, home: Home
) -> None:
    ok(place.run("ssh-config", "--yes", cwd=project))
    assert stat.S_IMODE(home.ssh.stat().st_mode) == 0o700
    assert stat.S_IMODE(home.config.stat().st_mode) == 0o600
    ok(place.run("ssh-config", "--remove", cwd=project))
    assert list(home.ssh.iterdir()) == []
    home.write(MINE)
    ok(place.run("ssh-config", "--yes", cwd=project))
    with home.config.open("ab") as file:
        file.write(b"Host later\n")
    done = ok(place.run("ssh-config", "--remove", cwd=project))
    assert home.config.read_bytes() == MINE + b"Host later\n"
    assert home.backup.read_bytes() == MINE
    assert str(home.backup) in done.stderr.decode()


@pytest.mark.parametrize(("answer", "included"), [("y\n", True), ("n\n", False)])
def test_a_person_is_asked(
    place: Place, project: Path, home: Home, answer: str, included: bool
) -> None:
    home.write(MINE)
    terminal = Terminal(place, project, "ssh-config")
    terminal.read_until(r"Put `Include .*`.*\? \[y/n\]: $")
    assert home.config.read_bytes() == MINE
    terminal.type(answer)
    assert terminal.end() == 0, terminal.text
    assert (home.config.read_bytes() != MINE) is included


def test_print_writes_nothing(place: Place, project: Path, home: Home) -> None:
    text = ok(place.run("ssh-config", "--print", cwd=project)).stdout.decode()
    assert text.startswith(f"Host {ALIAS}\n    HostName 127.0.0.1\n")
    assert "StrictHostKeyChecking yes\n" in text
    assert not home.ssh.exists()
    done = ok(place.run("--json", "ssh-config", "--print", cwd=project))
    assert json.loads(done.stdout) == {"alias": ALIAS, "text": text.rstrip("\n")}


def test_the_answer_for_machines(place: Place, project: Path, home: Home) -> None:
    body = json.loads(ok(place.run("--json", "ssh-config", cwd=project)).stdout)
    assert body["alias"] == ALIAS
    assert (body["host"], body["port"]) == ("127.0.0.1", home.port())
    assert body["included"] is False
    assert body["file"] == str(home.own)
    assert Path(body["knownHosts"]).read_text().startswith(f"{ALIAS} ssh-ed25519 ")
    assert Path(body["identityFile"]).is_file()


def test_nothing_is_written_when_there_is_no_vm(
    place: Place, project: Path, home: Home
) -> None:
    (project / ".colabremote.toml").write_text(
        '[link]\nprovider = "direct"\nhost = "127.0.0.1"\nport = 1\n'
    )
    done = place.run("ssh-config", "--yes", cwd=project)
    assert done.returncode == 3
    assert b"error:" in done.stderr
    assert not home.ssh.exists()


# --- several projects -------------------------------------------------------------


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    def make(folder: str, config: str) -> Path:
        path = tmp_path / folder
        path.mkdir(parents=True)
        (path / ".colabremote.toml").write_text(config)
        return path

    return make


def test_each_project_and_profile_has_its_block(
    place: Place, project: Path, home: Home, make: Callable[..., Path]
) -> None:
    other = make("a b/Gan_2.0", SANDBOX + '[profiles.big.run]\nargs = ["x"]\n')
    ok(place.run("ssh-config", "--yes", cwd=project))
    ok(place.run("ssh-config", "--yes", cwd=other))
    ok(place.run("disconnect", cwd=other))
    ok(place.run("--profile", "big", "ssh-config", "--yes", cwd=other))
    aliases = ["colab-Gan_2.0", "colab-Gan_2.0-big", ALIAS]
    assert re.findall(r"^Host (.*)$", home.own.read_text(), re.M) == aliases
    home.ssh_says(home.config)
    home.ssh_says(home.config, "colab-Gan_2.0-big")
    ok(place.run("ssh-config", "--remove", cwd=other))
    ok(place.run("ssh-config", "--remove", cwd=project))
    assert re.findall(r"^Host (.*)$", home.own.read_text(), re.M) == aliases[1:2]
    assert b"Include" in home.config.read_bytes()
    ok(place.run("--profile", "big", "ssh-config", "--remove", cwd=other))
    assert list(home.ssh.iterdir()) == []


def test_an_alias_is_not_taken_from_another_project(
    place: Place, project: Path, home: Home, make: Callable[..., Path]
) -> None:
    ok(place.run("ssh-config", cwd=project))
    before = home.own.read_bytes()
    ok(place.run("disconnect", cwd=project))  # both have the same sandbox
    twin = make("elsewhere/segmentation", SANDBOX)
    done = place.run("ssh-config", cwd=twin)
    assert done.returncode == 2
    assert str(project) in done.stderr.decode()
    assert home.own.read_bytes() == before
    (project / ".colabremote.toml").unlink()  # it is no project any more
    ok(place.run("ssh-config", cwd=twin))
    assert str(twin) in home.own.read_text()


# --- the daemon keeps it true -----------------------------------------------------


def wait_for_change(path: Path, old: bytes) -> None:
    for _ in watch(path.parent, rust_timeout=200, yield_on_timeout=True):
        if path.read_bytes() != old:
            return


def test_the_daemon_writes_a_port_that_changed(
    place: Place, project: Path, home: Home
) -> None:
    ok(place.run("ssh-config", "--yes", cwd=project))
    first, old = home.port(), home.own.read_bytes()
    ok(place.run("daemon", "stop", cwd=project))
    place.wait_daemon_gone()
    with socket.create_server(("127.0.0.1", first)):
        ok(place.run("connect", cwd=project))
        wait_for_change(home.own, old)
        assert home.port() != first
        home.ssh_says(home.config)
        status = ok(place.run("status", cwd=project)).stdout.decode()
        assert f"Port {first} is taken" in status


def test_the_daemon_installs_nothing_by_itself(
    place: Place, project: Path, home: Home
) -> None:
    ok(place.run("sync", cwd=project))
    ok(place.run("daemon", "stop", cwd=project))
    place.wait_daemon_gone()
    assert not home.ssh.exists()
