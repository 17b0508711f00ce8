"""`doctor` by each way in: how far it comes, where it breaks, what it says then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from colab_devsync.daemon import doctor_vm
from colab_devsync.daemon.check import Check
from colab_devsync.daemon.doctor import examine
from colab_devsync.errors import ConnectFailed
from tests.support.behind import Behind
from tests.support.colab import FakeColab
from tests.support.project import Project
from tests.support.relay import Relay
from tests.support.remotes import Login, Remote
from tests.support.sshd import Sshd

MakeSshd = Callable[..., Sshd]


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("STATE", "RUNTIME"):
        folder = tmp_path / f"devsync-{kind.lower()}"
        folder.mkdir(mode=0o700)
        monkeypatch.setenv(f"COLAB_DEVSYNC_{kind}_DIR", str(folder))


@pytest.fixture
def project(make_sshd: MakeSshd, tmp_path: Path) -> Iterator[Project]:
    """On a VM of its own."""
    project = Project(remote_of(make_sshd(), tmp_path), tmp_path / "project")
    yield project
    project.close()


def remote_of(sshd: Sshd, folder: Path) -> Remote:
    login = Login(sshd.port, sshd.user, sshd.identity_file, sshd.fingerprint)
    return Remote("sshd", login, folder / "vm", folder / "state")


def walk(project: Project) -> list[Check]:
    said: list[str] = []
    found = examine(str(project.root), project.session, said.append)
    assert said == [check.name for check in found]
    return found


def names(checks: list[Check]) -> list[str]:
    """Without those about this machine, which come first and last in every walk."""
    return [one.name for one in checks][3:-2]


def broken(checks: list[Check]) -> Check:
    (found,) = [one for one in checks if one.ok is False]
    assert found.hint
    return found


def test_all_the_way(project: Project) -> None:
    checks = walk(project)
    expected = ["terms", "key", "reach", "host key", "login", "agent", "gpu", "disk"]
    assert [one for one in names(checks) if one != "transfer"] == [
        *expected,
        "clock",
        "forwards",
    ]
    assert not [one for one in checks if one.ok is False]
    again = names(walk(project))  # online: nothing is dialled anew
    assert "key" not in again
    assert again[:3] == ["terms", "reach", "host key"]


@pytest.mark.parametrize("host", ["no-such-host.invalid", "no..host.invalid"])
def test_a_name_that_does_not_exist(project: Project, host: str) -> None:
    project.configure(host=host)
    with pytest.raises(ConnectFailed, match=f"cannot find the host {host}"):
        project.session.connect().result(60)
    project.session.disconnect().result(60)
    checks = walk(project)
    assert broken(checks).name == "name"
    assert names(checks) == ["terms", "key", "name"]


def test_a_key_that_is_refused(project: Project, make_sshd: MakeSshd) -> None:
    other = make_sshd()
    project.configure(identity_file=str(other.identity_file))
    assert broken(walk(project)).name == "login"


def test_the_keys_that_will_be_tried(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    key = project.remote.login.identity_file
    project.configure(identity_file=None)
    found = broken(walk(project))
    assert found.name == "key"
    assert "ssh-keygen" in found.hint
    usual = home / ".ssh" / "id_ed25519"
    usual.write_bytes(key.read_bytes())
    usual.chmod(0o600)
    checks = walk(project)
    assert [one.message for one in checks if one.name == "key"] == [str(usual)]
    assert "login" in names(checks)


def test_a_host_key_that_is_not_ours(project: Project) -> None:
    project.configure(host_key="SHA256:" + "A" * 43)
    assert broken(walk(project)).name == "host key"


def test_a_python_that_is_not_there(project: Project) -> None:
    project.configure()
    path = project.root / ".colabremote.toml"
    text = path.read_text().replace("[remote]", '[remote]\npython = "no-python"')
    path.write_text(text)
    assert broken(walk(project)).name == "agent"


def test_forwards_that_are_refused(tmp_path: Path, make_sshd: MakeSshd) -> None:
    sshd = make_sshd(forwarding=False)
    project = Project(remote_of(sshd, tmp_path), tmp_path / "project")
    try:
        (check,) = [one for one in walk(project) if one.name == "forwards"]
    finally:
        project.close()
    assert check.ok is None
    assert "no debugger" in check.message
    assert "AllowTcpForwarding" in check.hint


class Clock:
    """A connection to a VM whose clock is `off` seconds ahead."""

    def __init__(self, off: float) -> None:
        self.off = off

    def exec(self, command: str) -> Clock:
        assert command == "date +%s"
        return self

    def read(self, size: int) -> bytes:
        return b"%d\n" % (time.time() + self.off)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("off", "said"),
    [(0, "agrees"), (4, "agrees"), (900, "900 s ahead of"), (-61, "behind")],
)
def test_the_clock(off: float, said: str) -> None:
    check = doctor_vm._clock(Clock(off))  # type: ignore[arg-type]
    assert check.ok is (True if said == "agrees" else None)
    assert said in check.message.replace("899 s", "900 s")


# --- other ways -------------------------------------------------------------------


def test_a_relay_without_a_vm(project: Project, tmp_path: Path) -> None:
    with Relay(tmp_path / "relay") as relay:
        known = {"identity_file": str(relay.laptop_key), "host": None}
        way = {"provider": "relay", "port": relay.port, **known}
        project.configure(relay=relay.login, **way)
        project.answer = lambda question: "yes"
        checks = walk(project)
        assert names(checks) == ["terms", "key", "relay reach", "vm"]
        assert "run the notebook" in broken(checks).hint
        assert "remote proxies" in checks[3].message
        project.configure(relay="me@127.0.0.1:1", **way)
        found = broken(walk(project))
        assert found.name == "relay reach"
        assert "the VM has no part in it" in found.hint


def test_a_vm_that_went_away_is_named_without_waiting_for_it(tmp_path: Path) -> None:
    with closing(Behind(tmp_path / "behind")) as behind:
        behind.open_tunnel()
        project = Project(behind.remote, tmp_path / "project")
        project.configure(provider="relay", relay=behind.relay.login, host=None)
        project.answer = lambda question: "yes"
        project.connect()
        assert behind.tunnel is not None
        behind.tunnel.kill()
        project.wait(lambda: project.session.status().link == "lost", "it is noticed")
        found = broken(walk(project))
        assert found.name == "vm"
        assert "no VM is connected" in found.message
        project.close()


def test_a_command_that_does_not_exist(project: Project) -> None:
    project.configure(provider="command", host=None, proxy_command=("no-such", "x"))
    assert broken(walk(project)).name == "command"


def test_ngrok_without_a_key(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NGROK_API_KEY", raising=False)
    project.configure(provider="ngrok", host=None)
    checks = walk(project)
    assert names(checks) == ["terms", "key", "plan", "endpoint"]
    assert "NGROK_API_KEY" in broken(checks).message
    assert "1 GB" in checks[5].message


def test_colab_sessions_are_listed(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = project.remote.login
    keys = login.identity_file.parent / "authorized_keys"
    with FakeColab(tmp_path / "colab", login.port, keys) as colab:
        for name, value in colab.env().items():
            monkeypatch.setenv(name, value)
        colab.add_session("old", expires_in=-60, accelerator="NONE")
        way: dict[str, Any] = {"provider": "colab", "host": None, "identity_file": None}
        project.configure(session="nope", **way)
        checks = walk(project)
        assert names(checks) == ["terms", "colab command", "sessions", "session"]
        assert "train (T4, m-s-train, token good for" in checks[5].message
        assert "old (CPU, m-s-old, token expired)" in checks[5].message
        assert "right-token" not in str(checks)
        assert "SSH shells" in checks[3].message
        project.configure(session="train", **way)
        colab.tell(status=429)
        assert broken(walk(project)).name == "vm"
        colab.tell(status=0)
        checks = walk(project)
        assert not [one for one in checks if one.ok is False]
        assert "login" in names(checks)
