"""Provider `relay`: through a real relay to a real SSH server.

What goes wrong, and what is said then, over loopback; over two real networks that
share only the relay see test_relay_networks.py.
"""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from colab_devsync.core.events import Question
from colab_devsync.errors import (
    AuthFailed,
    ConnectFailed,
    ForwardRefused,
    HostKeyChanged,
    HostKeyUnknown,
    VmAbsent,
)
from colab_devsync.link.hostkeys import HostKey, pins_of
from tests.support.behind import Behind
from tests.support.proxy import ChaosProxy
from tests.support.relay import LAPTOP_LINE
from tests.support.remotes import Remote
from tests.support.streams import receive
from tests.support.vm import make_key

MB = 1_000_000


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    """One for all tests that leave it as it was."""
    made = Behind(tmp_path_factory.mktemp("behind"))
    made.open_tunnel()
    yield made
    made.close()


@pytest.fixture
def make_behind(tmp_path: Path) -> Iterator[Callable[..., Behind]]:
    with ExitStack() as stack:

        def make(**options: Any) -> Behind:
            made = Behind(tmp_path, **options)
            stack.callback(made.close)
            return made

        yield make


def test_programs_and_forwards_work(behind: Behind) -> None:
    connection = behind.connect()
    program = connection.exec(f"head -c {20 * MB} | wc -c")
    program.write(os.urandom(20 * MB))
    assert receive(program, 9) == b"%d\n" % (20 * MB)
    inner = connection.connect_tcp("127.0.0.1", behind.vm.port)
    assert receive(inner, 4) == b"SSH-"
    assert connection.login is not None
    assert connection.login.host_key.startswith("ssh-ed25519 ")
    connection.close()
    assert not connection.is_alive()


def test_the_label_names_both(behind: Behind) -> None:
    link = behind.remote.link(provider="relay", relay=behind.relay.login)
    port, where = behind.relay.port, behind.relay.where
    assert link.label == f"{behind.vm.user}@localhost:{port} via {where}"


def test_both_host_keys_are_asked_about_by_name(behind: Behind, tmp_path: Path) -> None:
    asked: list[Question] = []

    def yes(question: Question) -> str:
        asked.append(question)
        return "yes"

    login = dataclasses.replace(behind.remote.login)
    stranger = Remote("sshd", login, tmp_path, tmp_path / "state")
    fields = {"provider": "relay", "relay": behind.relay.login, "host_key": None}
    for _ in range(2):
        stranger.connect(ask=yes, **fields).close()
    relay, vm = asked
    assert relay.text.startswith(f"{behind.relay.where} is not known yet")
    assert behind.relay.sshd.fingerprint in relay.text
    assert f"localhost:{behind.relay.port} via {behind.relay.where}" in vm.text
    assert behind.vm.fingerprint in vm.text


def test_a_relay_that_nobody_vouches_for(behind: Behind, tmp_path: Path) -> None:
    stranger = Remote("sshd", behind.remote.login, tmp_path, tmp_path / "state")
    with pytest.raises(HostKeyUnknown, match=re.escape(behind.relay.where)):
        stranger.connect(
            provider="relay", relay=behind.relay.login, ask=lambda question: "no"
        )


@pytest.mark.parametrize("hashed", [False, True])
def test_a_relay_that_ssh_knows_is_not_asked_about(
    behind: Behind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hashed: bool
) -> None:
    relay, folder = behind.relay.sshd, tmp_path / "home" / ".ssh"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder.parent))
    known = folder / "known_hosts"
    key = relay.host_key.with_suffix(".pub").read_text()
    known.write_text(f"# mine\nother,[127.0.0.1]:{relay.port} {key}")
    if hashed:
        command = ["ssh-keygen", "-H", "-f", str(known)]
        subprocess.run(command, check=True, capture_output=True)
    stranger = Remote("sshd", behind.remote.login, tmp_path, tmp_path / "state")
    fields = {"provider": "relay", "relay": behind.relay.login}
    stranger.connect(**fields).close()
    wrong = behind.vm.host_key.with_suffix(".pub").read_text()
    known.write_text(f"[127.0.0.1]:{relay.port} {wrong}")
    with pytest.raises(HostKeyChanged, match=re.escape(behind.relay.where)):
        stranger.connect(**fields)


def test_another_relay_at_the_same_place(behind: Behind, tmp_path: Path) -> None:
    state = tmp_path / "state"
    pins_of(state).put(None, behind.relay.where, HostKey("ssh-ed25519", "SHA256:x"))
    stranger = Remote("sshd", behind.remote.login, tmp_path, state)
    with pytest.raises(HostKeyChanged, match=re.escape(behind.relay.where)):
        stranger.connect(provider="relay", relay=behind.relay.login)


def test_another_vm_behind_the_same_relay(behind: Behind) -> None:
    with pytest.raises(HostKeyChanged, match=f"localhost:{behind.relay.port} via"):
        behind.connect(host_key="SHA256:" + "A" * 43)


def test_a_relay_that_does_not_answer(behind: Behind) -> None:
    with pytest.raises(ConnectFailed, match="relay is not reached") as caught:
        behind.connect(relay="me@127.0.0.1:1")
    assert not isinstance(caught.value, VmAbsent)
    assert "`relay` in [link]" in caught.value.hint


def test_a_relay_that_refuses_the_key(behind: Behind, tmp_path: Path) -> None:
    make_key(tmp_path / "key")
    with pytest.raises(AuthFailed, match="relay refused") as caught:
        behind.connect(identity_file=str(tmp_path / "key"))
    assert behind.relay.sshd.user in caught.value.message
    assert "on the relay" in caught.value.hint


def test_a_vm_that_refuses_the_key(make_behind: Callable[..., Behind]) -> None:
    behind = make_behind()
    (behind.vm.folder / "authorized_keys").write_text("")
    behind.open_tunnel()
    with pytest.raises(AuthFailed, match=f"localhost:{behind.relay.port}") as caught:
        behind.connect()
    assert "on the VM" in caught.value.hint


def test_no_vm_is_there_yet_and_then_it_is(make_behind: Callable[..., Behind]) -> None:
    behind = make_behind()
    with pytest.raises(VmAbsent, match="no VM is connected to its port") as caught:
        behind.connect()
    assert "run the notebook" in caught.value.hint
    behind.open_tunnel()
    assert receive(behind.connect().exec("echo in"), 3) == b"in\n"


@pytest.mark.parametrize("port", [1, 22])
def test_a_port_that_the_relay_does_not_permit(behind: Behind, port: int) -> None:
    with pytest.raises(ForwardRefused, match=f"localhost:{port}") as caught:
        behind.connect(port=port)
    assert f'permitopen="localhost:{port}"' in caught.value.hint


def test_a_relay_without_forwarding(make_behind: Callable[..., Behind]) -> None:
    behind = make_behind(laptop_line=LAPTOP_LINE.replace("port-forwarding,", ""))
    with pytest.raises(ForwardRefused) as caught:
        behind.connect()
    assert "AllowTcpForwarding" in caught.value.hint


def test_without_one_key_named_all_are_tried(
    behind: Behind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "home" / ".ssh"
    folder.mkdir(parents=True)
    make_key(folder / "id_ed25519")
    (folder / "id_rsa").write_bytes(behind.relay.laptop_key.read_bytes())
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    connection = behind.connect(identity_file=None)
    assert receive(connection.exec("echo in"), 3) == b"in\n"


def test_a_relay_that_falls_silent_after_the_login(
    behind: Behind, make_proxy: Callable[..., ChaosProxy]
) -> None:
    """The line dies while the VM's own handshake is under way."""
    proxy = make_proxy(behind.relay.sshd.port)
    where = f"127.0.0.1:{proxy.port}"
    behind.pin_relay(where)
    fields: dict[str, object] = {"relay": f"{behind.relay.sshd.user}@{where}"}
    behind.connect(**fields).close()
    down = proxy.counts().down
    for part in (0.2, 0.5, 0.7):
        while proxy.counts().open:  # the cut is meant for the next one
            threading.Event().wait(0.01)
        proxy.cut_after("down", int(down * part))
        with pytest.raises(ConnectFailed):
            behind.connect(**fields)
    proxy.freeze("down")
    with pytest.raises(ConnectFailed, match="did not finish"):
        behind.connect(**fields, timeout_s=1.0)
