"""`relay setup` on a server with the distribution's own sshd_config, and the whole way
through it: laptop, relay, VM."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from colab_devsync.core.relay import RelayPlan
from colab_devsync.daemon.relay_setup import remote_command
from tests.e2e.place import Place
from tests.support.ports import free_port
from tests.support.sshd import require_sshd
from tests.support.stock_server import StockServer
from tests.support.vm import TIMEOUT_S, Vm, connect_string, make_key

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + 11 * "Fake"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StockServer]:
    with StockServer(tmp_path / "server") as made:
        yield made


def setup(place: Place, server: StockServer, *arguments: str) -> tuple[int, str, str]:
    command = ("relay", "setup", server.login, *server.ssh_options(), *arguments)
    done = place.run(*command, timeout_s=TIMEOUT_S)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_what_is_printed_is_what_sshd_understands(place: Place, tmp_path: Path) -> None:
    done = place.run(
        *("relay", "setup", "me@vps.example.com", "--public-key", KEY, "--json")
    )
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    config = tmp_path / "sshd_config"
    host_key = tmp_path / "host_key"
    make_key(host_key)
    config.write_text(f"HostKey {host_key}\n{body['rules']}")
    sshd = require_sshd()
    subprocess.run([sshd, "-t", "-f", str(config)], check=True)
    expected = {
        "colab": "allowtcpforwarding remote,permitlisten localhost:10022,"
        "permitopen none",
        "colab-laptop": "allowtcpforwarding local,permitopen localhost:10022,"
        "permitlisten none",
    }
    for user, own in expected.items():
        who = f"user={user},host=laptop,addr=203.0.113.9"
        listing = subprocess.run(
            [sshd, "-T", "-C", who, "-f", str(config)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.splitlines()
        lines = [*own.split(","), "forcecommand /usr/sbin/nologin", "permittty no"]
        lines += ["gatewayports no"]
        lines += ["allowstreamlocalforwarding no", "passwordauthentication no"]
        lines += ["clientaliveinterval 15", "clientalivecountmax 2"]
        assert set(lines) - set(listing) == set()
    (vm_line,) = body["vmLines"]
    start = 'restrict,port-forwarding,permitlisten="localhost:10022",'
    assert vm_line.startswith(f'{start}permitopen="localhost:1" ssh-ed25519 AAAA')
    (laptop_line,) = body["laptopLines"]
    start = 'restrict,port-forwarding,permitopen="localhost:10022",'
    assert laptop_line == f'{start}permitlisten="localhost:1" {KEY} laptop'
    again = place.run(
        *("relay", "setup", "me@vps.example.com", "--public-key", KEY, "--json")
    )
    assert again.stdout == done.stdout, "the key is made once"


def test_the_script_can_be_taken_there_by_hand(place: Place) -> None:
    server = "me@vps.example.com:2222"
    done = place.run("relay", "setup", server, "-o", "User=x", "--public-key", KEY)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"#!/bin/sh\n")
    assert (
        "scp -P 2222 -o User=x setup.sh me@vps.example.com: && "
        "ssh -p 2222 -o User=x -t me@vps.example.com sudo sh setup.sh"
    ) in done.stderr.decode()


def test_a_machine_without_a_key_is_told_so(place: Place) -> None:
    done = place.run("relay", "setup", "me@vps.example.com")
    assert done.returncode == 0
    assert b"colab-laptop would let nobody in" in done.stderr
    done = place.run("relay", "setup", "me@vps.example.com", "--own-account")
    assert b"nobody in" not in done.stderr


@pytest.mark.parametrize(
    "names", [("a b",), ("x;reboot",), ("-x",), ("colab", "--laptop-user", "colab")]
)
def test_names_that_no_account_can_have(place: Place, names: tuple[str, ...]) -> None:
    command = ("relay", "setup", "me@vps.example.com", f"--vm-user={names[0]}")
    done = place.run(*command, *names[1:], "--public-key", KEY)
    assert done.returncode == 2
    assert done.stdout == b""
    assert names[0].encode() in done.stderr


def test_the_key_for_a_check_must_be_one(place: Place) -> None:
    wrong = place.home / "wrong"
    wrong.write_text("no key")
    command = ("relay", "check", "me@127.0.0.1:1", "--vm-key", str(wrong))
    done = place.run(*command)
    assert done.returncode in (2, 3)
    assert b"Traceback" not in done.stderr
    assert b"holds no private key" in done.stderr


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh", "fish", "tcsh"])
def test_any_login_shell_of_the_server_runs_it(shell: str) -> None:
    command = remote_command(RelayPlan("vps.example.com", KEY), "plan")
    done = subprocess.run(
        [shell, "-c", command], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    assert "+ user colab, without password and shell" in done.stdout
    assert "+ reload sshd" in done.stdout


def test_it_shows_what_it_would_do_and_asks_first(
    place: Place, server: StockServer
) -> None:
    code, _, said = setup(place, server, "--apply", "--public-key", KEY)
    assert code == 2
    assert "+ user colab, without password and shell" in said
    assert "+ /etc/ssh/sshd_config.d/colab-devsync.conf:" in said
    assert "Add --yes" in said
    assert server.users() == []
    command = [sys.executable, "-m", "colab_devsync", "relay", "setup", server.login]
    command += [*server.ssh_options(), "--apply", "--public-key", KEY]
    assert "The relay is set up" not in answered(place, command, "n")
    assert server.users() == []
    assert "The relay is set up" in answered(place, command, "y")
    assert server.users() == ["colab", "colab-laptop"]


def answered(place: Place, command: list[str], answer: str) -> str:
    """Runs it on a terminal, where `answer` is typed at the question."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command,
        cwd=place.home,
        env=place.env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        said, asked = b"", False
        while select.select([ours], [], [], TIMEOUT_S)[0]:
            try:
                data = os.read(ours, 4096)
            except OSError:
                break  # the other end is closed
            said += data
            if not asked and b"[y/n]" in said:
                asked = True
                os.write(ours, f"{answer}\n".encode())
        process.wait(TIMEOUT_S)
    os.close(ours)
    return said.decode()


def test_the_whole_way_laptop_relay_vm(
    place: Place, server: StockServer, vm: Vm, tmp_path: Path
) -> None:
    port = str(free_port())
    public = str(vm.key.with_suffix(".pub"))
    options = ("--public-key", public, "--port", port)
    code, out, said = setup(place, server, *options, "--apply", "--yes")
    assert code == 0, said
    assert "The relay is set up" in out
    project = tmp_path / "seg"
    project.mkdir()
    relay = f"colab-laptop@127.0.0.1:{server.port}"
    (project / ".colabremote.toml").write_text(
        f'[link]\nprovider = "relay"\nrelay = "{relay}"\nport = {port}\n'
        f"identity_file = {json.dumps(str(vm.key))}\n"
        f'[remote]\nroot = "{tmp_path / "content"}"\n'
    )
    # nobody gets more than this one way
    check = ("relay", "check", "--host-key", server.fingerprint)
    done = place.run(*check, cwd=project, timeout_s=TIMEOUT_S)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    assert b"no hole found" in done.stdout
    # the VM, with the script that the project's link makes
    made = place.run("notebook", "-o", str(vm.script), "--force", cwd=project)
    assert made.returncode == 0, made.stderr
    assert server.fingerprint in vm.script.read_text()
    secret = place.run("relay", "key", cwd=project).stdout.decode()
    local = ("--sshd-port", str(vm.port))
    up = vm.run(options=local, DEVSYNC_RELAY_KEY=secret, CUDA_TEST="there")
    assert up.returncode == 0, up.stdout + up.stderr
    line = connect_string(up.stdout)
    assert f"@localhost:{port}?via={relay}&hk=" in line
    connected = place.run("connect", line, cwd=project, timeout_s=TIMEOUT_S)
    assert connected.returncode == 0, connected.stderr
    command = ("exec", "--", "sh", "-c", "echo $CUDA_TEST")
    assert place.run(*command, cwd=project).stdout == b"there\n"
    # with the VM connected the check says so, and still finds no hole
    done = place.run("relay", "check", cwd=project, timeout_s=TIMEOUT_S)
    assert done.returncode == 0, done.stdout
    assert b"a VM listens on the relay's" in done.stdout
    vm.run("--stop", options=local)
    # set up again: nothing is left to do
    before = server.run("stat -c %i-%Y /etc/ssh/sshd_config.d/* /home/colab/.ssh/*")
    code, out, said = setup(place, server, *options, "--apply", "--yes")
    assert code == 0
    assert "\n+ " not in said
    assert (
        server.run("stat -c %i-%Y /etc/ssh/sshd_config.d/* /home/colab/.ssh/*")
        == before
    )


def test_what_stands_in_the_way_is_named_and_left_alone(
    place: Place, server: StockServer
) -> None:
    apply = ("--apply", "--yes", "--public-key", KEY)
    server.run("useradd --create-home --shell /bin/sh anna")
    code, _, said = setup(place, server, "--vm-user", "anna", *apply)
    assert code == 3
    assert "the user anna exists and has the shell /bin/sh" in said
    assert "choose another name" in said
    server.run("sed -i /^Include/d /etc/ssh/sshd_config")
    code, _, said = setup(place, server, *apply)
    assert code == 3
    assert "Include /etc/ssh/sshd_config.d/*.conf" in said


def test_a_server_that_lets_nobody_in_is_named(place: Place, tmp_path: Path) -> None:
    port = free_port()
    done = place.run(
        *("relay", "setup", f"me@127.0.0.1:{port}", "--apply", "--public-key", KEY)
    )
    assert done.returncode == 3
    said = done.stderr.decode()
    assert "ssh could not log in to me@127.0.0.1" in said
    assert f"`ssh -p {port} me@127.0.0.1` must work first" in said
