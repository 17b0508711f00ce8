"""The tunnel from the VM outwards: through a real relay, kept up, started once."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.relay import Relay
from tests.support.vm import TIMEOUT_S, Vm, connect_string

NGROK = """\
# Stands in for the ngrok package: the same call, an endpoint that is a file.
import json, os


class Listener:
    def url(self):
        return "tcp://0.tcp.example.com:12345"


def forward(addr, proto, *, authtoken, metadata):
    if authtoken != "right-token":
        raise ValueError("failed to connect session", "ERR_NGROK_105", authtoken)
    with open(os.path.join(os.environ["HOME"], "ngrok.json"), "w") as file:
        json.dump([addr, proto, metadata], file)
    return Listener()
"""


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    with Relay(tmp_path / "relay") as made:
        yield made


def up(vm: Vm, relay: Relay, **env: str) -> str:
    """Starts server and tunnel; the text shown."""
    secret = {"DEVSYNC_RELAY_KEY": relay.vm_key.read_text(), **env}
    done = vm.run(*relay.options(), **secret)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def through(vm: Vm, relay: Relay) -> str:
    return vm.ssh("echo", "through", options=(relay.proxy(),)).stdout


def state_of(vm: Vm) -> dict[str, object]:
    found: dict[str, object] = json.loads((vm.folder / "tunnel.json").read_text())
    return found


def wait_until(look: Callable[[], bool], what: str) -> None:
    """The supervisor tells nobody but its file: looked at until it says so."""
    deadline = time.monotonic() + TIMEOUT_S
    pause = threading.Event()
    while not look():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        pause.wait(0.05)


def test_the_laptop_reaches_the_vm_through_the_relay(vm: Vm, relay: Relay) -> None:
    text = up(vm, relay)
    shown = connect_string(text)
    assert shown.startswith(f"devsync://{relay.sshd.user}@localhost:{relay.port}?via=")
    assert f"via={relay.login}&hk=SHA256:" in shown
    assert through(vm, relay) == "through\n"


def test_a_second_run_starts_no_second_tunnel(vm: Vm, relay: Relay) -> None:
    first = up(vm, relay)
    pids = vm.pid("tunnel"), vm.pid("ssh"), vm.pid("sshd")
    done = vm.run(*relay.options())  # the key is there: nobody is asked again
    assert done.returncode == 0, done.stderr
    assert (vm.pid("tunnel"), vm.pid("ssh"), vm.pid("sshd")) == pids
    assert connect_string(done.stdout) == connect_string(first)


def test_a_tunnel_that_dies_is_back(vm: Vm, relay: Relay) -> None:
    up(vm, relay)
    for kill in (signal.SIGKILL, signal.SIGSTOP):
        pid = vm.pid("ssh")
        os.kill(pid, kill)
        wait_until(
            lambda pid=pid: vm.pid("ssh") != pid and state_of(vm)["state"] == "up",  # type: ignore[misc]
            f"a new tunnel after signal {kill}",
        )
        assert through(vm, relay) == "through\n"


def test_a_relay_that_restarts_is_found_again(vm: Vm, relay: Relay) -> None:
    up(vm, relay)
    relay.sshd.close()
    wait_until(lambda: state_of(vm)["state"] == "waiting", "the loss is noticed")
    assert "next try in" in str(state_of(vm)["message"])
    relay.sshd.start()
    wait_until(lambda: state_of(vm)["state"] == "up", "the relay is found again")
    assert through(vm, relay) == "through\n"


def test_a_killed_supervisor_leaves_no_tunnel_in_the_way(vm: Vm, relay: Relay) -> None:
    up(vm, relay)
    os.kill(vm.pid("tunnel"), signal.SIGKILL)
    up(vm, relay)
    assert through(vm, relay) == "through\n"


def test_stop_ends_the_tunnel_too(vm: Vm, relay: Relay) -> None:
    up(vm, relay)
    ssh = vm.pid("ssh")
    assert "Stopped: tunnel and server" in vm.run("--stop").stdout
    assert not Path(f"/proc/{ssh}").exists()
    assert through(vm, relay) == ""


def test_a_false_relay_is_refused(vm: Vm, relay: Relay) -> None:
    secret = {"DEVSYNC_RELAY_KEY": relay.vm_key.read_text()}
    options = (*relay.options(), "--relay-host-key", "SHA256:" + "A" * 43)
    done = vm.run(*options, **secret)
    assert done.returncode == 1
    assert "HAS ANOTHER HOST KEY" in done.stderr
    done = vm.run(*relay.options(), "--relay-host-key", "", **secret)
    assert done.returncode == 1
    assert relay.sshd.fingerprint in done.stderr
    assert "a false relay could stand in between" in done.stderr
    assert not (vm.folder / "tunnel.pid").exists()


def test_a_relay_that_does_not_take_the_key_is_named(vm: Vm, relay: Relay) -> None:
    secret = {"DEVSYNC_RELAY_KEY": vm.key.read_text()}
    done = vm.run(*relay.options(), **secret)
    assert done.returncode == 1
    assert "Permission denied" in done.stdout
    assert "colab-devsync relay check" in done.stdout


def test_without_the_secret_nothing_is_started_and_the_secret_is_named(
    vm: Vm, relay: Relay
) -> None:
    done = vm.run(*relay.options())
    assert done.returncode == 1
    assert "DEVSYNC_RELAY_KEY" in done.stderr
    assert "Colab's secrets" in done.stderr
    done = vm.run(*relay.options(), DEVSYNC_RELAY_KEY="no key at all")
    assert "holds no private key" in done.stderr


def test_a_key_that_was_pasted_in_one_line_works(vm: Vm, relay: Relay) -> None:
    up(vm, relay, DEVSYNC_RELAY_KEY=relay.vm_key.read_text().replace("\n", " "))
    assert through(vm, relay) == "through\n"


def test_ngrok_gets_the_projects_metadata_and_its_endpoint_is_shown(vm: Vm) -> None:
    (vm.home / "ngrok.py").write_text(NGROK)
    options = ("--provider", "ngrok", "--name", "seg")
    env = {"PYTHONPATH": str(vm.home)}
    done = vm.run(*options, NGROK_AUTHTOKEN="right-token", **env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "@0.tcp.example.com:12345?hk=SHA256:" in connect_string(done.stdout)
    addr, proto, metadata = json.loads((vm.home / "ngrok.json").read_text())
    assert (addr, proto, metadata) == (f"localhost:{vm.port}", "tcp", "devsync:seg")
    pid = vm.pid("tunnel")
    vm.run(*options, NGROK_AUTHTOKEN="right-token", **env)
    assert vm.pid("tunnel") == pid


def test_a_refused_authtoken_is_said_and_never_written(vm: Vm) -> None:
    (vm.home / "ngrok.py").write_text(NGROK)
    env = {"PYTHONPATH": str(vm.home), "NGROK_AUTHTOKEN": "wrong-token"}
    done = vm.run("--provider", "ngrok", **env)
    assert done.returncode == 1
    assert "ERR_NGROK_105" in done.stdout
    files = [path for path in vm.folder.iterdir() if path.is_file()]
    assert [path for path in files if b"wrong-token" in path.read_bytes()] == []
    assert "wrong-token" not in done.stdout + done.stderr
    done = vm.run("--provider", "ngrok", **{**env, "NGROK_AUTHTOKEN": "right-token"})
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_key_that_was_refused_is_asked_for_again(vm: Vm, relay: Relay) -> None:
    first = vm.run(*relay.options(), stdin=vm.key.read_text().replace("\n", " ") + "\n")
    assert first.returncode == 1
    assert "Permission denied" in first.stdout
    again = vm.run(*relay.options())  # nobody answers: the same key
    assert "Permission denied" in again.stdout
    right = relay.vm_key.read_text().replace("\n", " ")
    done = vm.run(*relay.options(), stdin=right + "\n")
    assert done.returncode == 0, done.stdout + done.stderr
    assert through(vm, relay) == "through\n"
    assert right[50:100] not in done.stdout + done.stderr


def test_a_vm_without_ssh_is_told_so(vm: Vm, relay: Relay) -> None:
    vm.env["PATH"] = str(vm.home)
    done = vm.run(*relay.options(), DEVSYNC_RELAY_KEY=relay.vm_key.read_text())
    assert done.returncode == 1
    assert done.stderr.startswith("error: Cannot start ssh")
