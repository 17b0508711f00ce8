"""Lines that people paste: `connect 'ssh -p …'`, `connect 'devsync://…?via=…&hk=…'`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.place import Place
from tests.support.behind import Behind


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Behind]:
    made = Behind(tmp_path / "behind")
    made.open_tunnel()
    yield made
    made.close()


@pytest.fixture
def here(behind: Behind, place: Place, tmp_path: Path) -> Path:
    """A project for the relay; the laptop's ssh has met it, and nobody the VM."""
    folder = tmp_path / "segmentation"
    folder.mkdir()
    (folder / "train.py").write_text("print('through')\n")
    relay = behind.relay
    (folder / ".colabremote.toml").write_text(
        f'[link]\nprovider = "relay"\nrelay = "{relay.login}"\nport = {relay.port}\n'
        f'user = "{behind.vm.user}"\nidentity_file = "{relay.laptop_key}"\n'
        f'[remote]\nroot = "{tmp_path / "vm"}"\n'
    )
    known = place.home / ".ssh" / "known_hosts"
    known.parent.mkdir()
    key = relay.sshd.host_key.with_suffix(".pub").read_text()
    known.write_text(f"[127.0.0.1]:{relay.sshd.port} {key}")
    return folder


def connect(
    place: Place, here: Path, *words: str
) -> subprocess.CompletedProcess[bytes]:
    return place.run("connect", *words, "--json", cwd=here)


def test_a_line_through_a_relay_vouches_for_the_vm(
    place: Place, here: Path, behind: Behind
) -> None:
    relay, pin = behind.relay, behind.vm.fingerprint
    assert connect(place, here).returncode == 3  # nobody to ask about the VM's key
    way = f"{behind.vm.user}@localhost:{relay.port}?via={relay.login}"
    false = f"devsync://{way}&hk=SHA256:{'A' * 43}"
    refused = connect(place, here, false)
    assert refused.returncode == 3
    assert b"nothing was sent" in refused.stderr
    done = connect(place, here, f"devsync://{way}&hk={pin}")
    assert done.returncode == 0, done.stderr
    target = f"localhost:{relay.port} via {relay.where}"
    assert json.loads(done.stdout)["target"].endswith(target)
    assert place.run("exec", "--", "echo", "in", cwd=here).stdout == b"in\n"
    place.run("daemon", "stop")
    place.wait_daemon_gone()
    assert connect(place, here).returncode == 0  # the key is pinned now


def test_a_pasted_ssh_line(place: Place, here: Path, behind: Behind) -> None:
    vm = behind.vm
    config = here / ".colabremote.toml"
    text = config.read_text().replace(
        "[remote]", f'host_key = "{vm.fingerprint}"\n[remote]'
    )
    config.write_text(text)
    done = connect(place, here, f"ssh -p {vm.port} {vm.user}@127.0.0.1")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["target"] == f"{vm.user}@127.0.0.1:{vm.port}"
