"""Getting in: host keys, user keys, and what is said when it does not work."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from colab_devsync.core.config import LinkConfig
from colab_devsync.core.events import Question
from colab_devsync.errors import (
    AuthFailed,
    ConfigError,
    ConnectFailed,
    ForwardRefused,
    HostKeyChanged,
    HostKeyUnknown,
)
from colab_devsync.link.hostkeys import pins_of
from colab_devsync.link.providers import open_link
from tests.support.ports import free_port
from tests.support.proxy import ChaosProxy
from tests.support.remotes import Login, Remote
from tests.support.sshd import Sshd
from tests.support.streams import receive


def keygen(path: Path, passphrase: str = "", kind: str = "ed25519") -> Path:
    command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


def remote_of(sshd: Sshd, folder: Path) -> Remote:
    login = Login(sshd.port, sshd.user, sshd.identity_file, sshd.fingerprint)
    return Remote("sshd", login, folder, folder / "state")


# --- host keys --------------------------------------------------------------------


def test_an_unknown_host_key_that_is_declined(remote: Remote) -> None:
    with pytest.raises(HostKeyUnknown, match=re.escape(remote.login.fingerprint)):
        remote.connect(host_key=None, ask=lambda question: "no")


def test_an_accepted_host_key_is_pinned(remote: Remote) -> None:
    asked: list[Question] = []

    def yes(question: Question) -> str:
        asked.append(question)
        return "yes"

    for _ in range(2):
        connection = remote.connect(host_key=None, ask=yes)
        assert receive(connection.exec("echo in"), 3) == b"in\n"
    assert len(asked) == 1


def test_a_changed_host_key_is_refused(
    make_sshd: Callable[..., Sshd], tmp_path: Path
) -> None:
    sshd = make_sshd()
    remote = remote_of(sshd, tmp_path)
    old = sshd.fingerprint
    remote.connect(host_key=None, ask=lambda question: "yes").close()
    sshd.close()
    sshd.new_host_key()
    sshd.start()
    with pytest.raises(HostKeyChanged) as caught:
        remote.connect(host_key=None)
    assert old in caught.value.message
    assert sshd.fingerprint in caught.value.message
    assert pins_of(remote.state).forget(None) == 1
    remote.connect(host_key=None, ask=lambda question: "yes").close()


def test_a_host_key_that_contradicts_the_configuration(remote: Remote) -> None:
    other = "SHA256:" + "A" * 43
    with pytest.raises(HostKeyChanged, match="host_key") as caught:
        remote.connect(host_key=other)
    assert remote.login.fingerprint in caught.value.message


def test_waiting_for_the_answer_does_not_count_as_time_out(remote: Remote) -> None:
    def connect(timeout_s: float) -> None:
        def slowly(question: Question) -> str:
            threading.Event().wait(timeout_s + 0.1)
            return "yes"

        remote.connect(host_key=None, ask=slowly, timeout_s=timeout_s).close()

    try:
        connect(0.5)
    except ConnectFailed:  # the machine is busy: the rest took too long
        connect(10)


# --- user keys --------------------------------------------------------------------


def test_a_wrong_key_is_refused_and_named(remote: Remote, tmp_path: Path) -> None:
    key = keygen(tmp_path / "wrong")
    with pytest.raises(AuthFailed) as caught:
        remote.connect(identity_file=str(key))
    assert str(key) in caught.value.message
    assert remote.login.user in caught.value.message
    assert "authorized_keys" in caught.value.hint


def test_a_missing_key_file(remote: Remote) -> None:
    with pytest.raises(ConfigError, match="/missing-key does not exist"):
        remote.connect(identity_file="~/.ssh/missing-key")


def test_a_key_with_a_passphrase(remote: Remote, tmp_path: Path) -> None:
    key = keygen(tmp_path / "locked", passphrase="secret words")
    with pytest.raises(AuthFailed, match="passphrase") as caught:
        remote.connect(identity_file=str(key))
    assert "ssh-add" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"ssh-ed25519 AAAA me\n", b"\x00\xff" * 50])
def test_a_file_that_is_no_key(remote: Remote, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "no-key"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="no private key"):
        remote.connect(identity_file=str(path))


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_other_kinds_of_keys(
    make_sshd: Callable[..., Sshd], tmp_path: Path, kind: str
) -> None:
    sshd = make_sshd()
    key = keygen(tmp_path / kind, kind=kind)
    with (sshd.folder / "authorized_keys").open("ab") as file:
        file.write(key.with_suffix(".pub").read_bytes())
    connection = remote_of(sshd, tmp_path).connect(identity_file=str(key))
    assert receive(connection.exec("echo in"), 3) == b"in\n"
    connection.close()


def test_without_a_configured_key_the_usual_files_are_tried(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "home" / ".ssh"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(AuthFailed, match="no SSH key found"):
        remote.connect(identity_file=None)
    keygen(folder / "id_ed25519")
    with pytest.raises(AuthFailed, match="id_ed25519"):
        remote.connect(identity_file=None)
    (folder / "id_rsa").write_bytes(remote.login.identity_file.read_bytes())
    connection = remote.connect(identity_file=None)
    assert receive(connection.exec("echo in"), 3) == b"in\n"


def test_too_many_wrong_keys(
    make_sshd: Callable[..., Sshd], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sshd = make_sshd(extra=("MaxAuthTries 1",))
    folder = tmp_path / "home" / ".ssh"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    keygen(folder / "id_ed25519")
    keygen(folder / "id_ecdsa", kind="ecdsa")
    with pytest.raises(AuthFailed, match=r"id_ecdsa; Too many auth") as caught:
        remote_of(sshd, tmp_path).connect(identity_file=None)
    assert "id_ed25519" in caught.value.message


def test_keys_of_ssh_agent_are_tried(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tempfile.mkdtemp(prefix="devsync-")  # short: socket paths have a limit
    address = Path(folder) / "agent"
    agent = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(address)], stdout=subprocess.PIPE
    )
    try:
        assert agent.stdout is not None
        agent.stdout.readline()  # it listens now
        monkeypatch.setenv("SSH_AUTH_SOCK", str(address))
        monkeypatch.setenv("HOME", str(tmp_path))
        command = ["ssh-add", "-q", str(remote.login.identity_file)]
        subprocess.run(command, check=True)
        connection = remote.connect(identity_file=None)
        assert receive(connection.exec("echo in"), 3) == b"in\n"
    finally:
        agent.terminate()
        agent.communicate()
        shutil.rmtree(folder)


# --- the way there ----------------------------------------------------------------


def test_a_port_where_nobody_listens(remote: Remote) -> None:
    port = free_port()
    with pytest.raises(ConnectFailed, match=f"127.0.0.1:{port}.*refused"):
        remote.connect(port)


def test_a_host_that_does_not_exist(remote: Remote) -> None:
    with pytest.raises(ConnectFailed, match=r"no-such-host\.invalid"):
        remote.connect(host="no-such-host.invalid")


def test_a_server_that_is_not_ssh(remote: Remote) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            peer, _ = server.accept()
            with peer:
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with pytest.raises(ConnectFailed, match="not as an SSH server") as caught:
            remote.connect(server.getsockname()[1])
        thread.join(30)
    assert "tunnel" in caught.value.hint


def test_a_server_that_says_nothing(remote: Remote, proxy: ChaosProxy) -> None:
    proxy.freeze()
    before = set(threading.enumerate())
    with pytest.raises(ConnectFailed, match="did not finish the SSH handshake"):
        remote.connect(proxy.port, timeout_s=0.3)
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.parametrize("count", [0, 10, 300, 1000, 1500])
def test_a_connection_that_breaks_in_the_handshake(
    remote: Remote, proxy: ChaosProxy, count: int
) -> None:
    proxy.cut_after("down", count)
    with pytest.raises(ConnectFailed):  # and not AuthFailed: trying again will do
        remote.connect(proxy.port)
    remote.connect(proxy.port).close()


def test_forwarding_switched_off(
    make_sshd: Callable[..., Sshd], tmp_path: Path
) -> None:
    sshd = make_sshd(forwarding=False)
    connection = remote_of(sshd, tmp_path).connect()
    with pytest.raises(ForwardRefused) as caught:
        connection.connect_tcp("127.0.0.1", sshd.port)
    assert "AllowTcpForwarding" in caught.value.hint
    assert receive(connection.exec("echo in"), 3) == b"in\n"
    connection.close()


@pytest.mark.parametrize(
    ("provider", "key"), [("relay", "relay"), ("command", "proxy_command")]
)
def test_what_a_provider_needs(tmp_path: Path, provider: str, key: str) -> None:
    config = LinkConfig(provider=provider)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=f"needs `{key}`") as caught:
        open_link(
            config, profile=None, state_dir=tmp_path, cache_dir=tmp_path, name="x"
        )
    assert key in caught.value.hint
    assert not os.listdir(tmp_path)


def test_direct_needs_a_host(tmp_path: Path) -> None:
    config = LinkConfig(provider="direct")
    with pytest.raises(ConfigError, match="host"):
        open_link(
            config, profile=None, state_dir=tmp_path, cache_dir=tmp_path, name="x"
        )
