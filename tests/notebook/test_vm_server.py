"""The bootstrap script run for real: its sshd, who gets in, what a second run does."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from colab_devsync.core.config import LinkConfig
from colab_devsync.core.endpoint import apply_endpoint
from colab_devsync.errors import AuthFailed, HostKeyChanged
from colab_devsync.link.base import Connection
from colab_devsync.link.providers import open_link
from tests.agent.interpreters import interpreters
from tests.e2e.place import Place
from tests.support.remotes import never
from tests.support.sshd import require_sshd
from tests.support.streams import receive
from tests.support.vm import Vm, connect_string, make_key


def connect(vm: Vm, text: str, state: Path, key: Path | None = None) -> Connection:
    config = LinkConfig(provider="direct", host="x", identity_file=str(key or vm.key))
    link = open_link(
        apply_endpoint(config, text),
        profile=None,
        state_dir=state,
        cache_dir=state,
        name="test",
    )
    return link.connect(never, 30)


def shown(vm: Vm, *arguments: str, **env: str) -> str:
    done = vm.run("--host", "127.0.0.1", "--port", str(vm.port), *arguments, **env)
    assert done.returncode == 0, done.stderr
    return connect_string(done.stdout)


def test_the_shown_line_connects_with_its_pinned_host_key(
    vm: Vm, tmp_path: Path
) -> None:
    text = shown(vm)
    assert "hk=SHA256:" in text
    connection = connect(vm, text, tmp_path)
    channel = connection.exec("echo in")
    assert receive(channel, 3) == b"in\n"
    connection.close()
    other = text.partition("hk=")[0] + "hk=SHA256:" + "A" * 43
    with pytest.raises(HostKeyChanged):
        connect(vm, other, tmp_path)
    assert vm.ssh("echo", "plain").stdout == "plain\n"


def test_only_the_given_key_gets_in(vm: Vm, tmp_path: Path) -> None:
    text = shown(vm)
    stranger = tmp_path / "stranger"
    make_key(stranger)
    with pytest.raises(AuthFailed):
        connect(vm, text, tmp_path, stranger)
    refused = vm.ssh(
        "true",
        options=(
            f"IdentityFile={stranger}",
            "PreferredAuthentications=password,keyboard-interactive",
        ),
    )
    assert "Permission denied (publickey)" in refused.stderr


def test_sshd_takes_the_hardening_as_it_was_meant(vm: Vm) -> None:
    shown(vm)
    config = str(vm.folder / "sshd_config")
    listing = subprocess.run(
        [require_sshd(), "-T", "-f", config], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    expected = {
        f"listenaddress 127.0.0.1:{vm.port}",
        "passwordauthentication no",
        "kbdinteractiveauthentication no",
        "permitrootlogin without-password",
        "allowagentforwarding no",
        "x11forwarding no",
        "gatewayports no",
        "permittunnel no",
        "maxauthtries 3",
        "subsystem sftp internal-sftp",
    }
    assert expected - set(listing) == set()
    assert vm.folder.stat().st_mode & 0o077 == 0
    for name in ("host_key", "authorized_keys", "sshd_config"):
        assert (vm.folder / name).stat().st_mode & 0o077 == 0


def test_sessions_have_the_notebooks_environment_and_no_secret(vm: Vm) -> None:
    shown(
        vm,
        CUDA_HOME='/usr/local/cuda "12"',
        NVIDIA_VISIBLE_DEVICES="all",
        LD_LIBRARY_PATH="/usr/lib64-nvidia",
        CUDA_API_KEY="hidden",
        MPLBACKEND="inline",
        NGROK_AUTHTOKEN="hidden",
    )
    found = vm.ssh("env").stdout.splitlines()
    assert 'CUDA_HOME=/usr/local/cuda "12"' in found
    assert "NVIDIA_VISIBLE_DEVICES=all" in found
    assert "LD_LIBRARY_PATH=/usr/lib64-nvidia" in found
    assert not [line for line in found if "hidden" in line or "MPLBACKEND" in line]


def test_a_second_run_changes_nothing(vm: Vm) -> None:
    first = shown(vm)
    pid = vm.pid("sshd")
    done = vm.run("--host", "127.0.0.1", "--port", str(vm.port))
    assert "runs already" in done.stdout
    assert connect_string(done.stdout) == first
    assert vm.pid("sshd") == pid


def test_new_settings_take_hold_while_a_session_goes_on(vm: Vm) -> None:
    shown(vm, CUDA_TEST="old")
    command = ["ssh", "-F", "/dev/null", "-i", str(vm.key), "-p", str(vm.port)]
    command += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    with subprocess.Popen(
        [*command, "127.0.0.1", "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        session.stdin.write("before\n")
        session.stdin.flush()
        assert session.stdout.readline() == "before\n"
        shown(vm, CUDA_TEST="new")
        assert vm.ssh("echo", "$CUDA_TEST").stdout == "new\n"
        session.stdin.write("after\n")
        session.stdin.close()
        assert session.stdout.readline() == "after\n"


def test_what_is_wrong_is_said_with_the_next_step(vm: Vm) -> None:
    port = ("--sshd-port", str(vm.port))
    done = vm.run(options=port)
    assert done.returncode == 1
    assert "No public key was given" in done.stderr
    assert "ssh-keygen -t ed25519" in done.stderr
    done = vm.run(options=(*port, "--public-key", vm.key.read_text()))
    assert "This is no public key" in done.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = str(taken.getsockname()[1])
        done = vm.run("--sshd-port", number)
    assert done.returncode == 1
    assert f"Port {number} on this machine is not free" in done.stderr


def test_stop_ends_it_and_the_host_key_stays(vm: Vm) -> None:
    first = shown(vm)
    assert "Stopped: server" in vm.run("--stop").stdout
    assert "nothing was running" in vm.run("--stop").stdout
    assert shown(vm) == first


@pytest.mark.parametrize("version", sorted(interpreters()))
def test_it_runs_on_every_python_colab_had(vm: Vm, version: str) -> None:
    vm.python = interpreters()[version]
    done = vm.run("--help")
    assert done.returncode == 0, done.stderr
    assert "Google's FAQ forbids SSH" in done.stdout
    if version == min(interpreters(), key=lambda one: int(one[2:])):
        assert shown(vm)


def test_a_locked_account_is_named_with_its_cure(vm: Vm) -> None:
    shadow = vm.home / "shadow"
    shadow.write_text("root:!locked:20000:0:99999:7:::\n")
    vm.under = mounted(f"mount --bind {shlex.quote(str(shadow))} /etc/shadow")
    done = vm.run()
    assert done.returncode == 1
    assert "usermod -p '*' root" in done.stderr


# --- what it shows --------------------------------------------------------------------


def test_stay_shows_runs_until_it_is_interrupted(
    vm: Vm, place: Place, tmp_path: Path
) -> None:
    line = shown(vm)
    project, content = tmp_path / "seg", tmp_path / "content"
    project.mkdir()
    (project / "wait.py").write_text("input()\n")
    (project / ".colabremote.toml").write_text(
        f'[link]\nprovider = "direct"\nhost = "x"\nidentity_file = "{vm.key}"\n'
        f'[remote]\nroot = "{content}"\n'
    )
    assert place.run("connect", line, cwd=project).returncode == 0
    (content / "checkpoints").mkdir(exist_ok=True)
    started = place.run("run", "--detach", "wait.py", cwd=project)
    assert started.returncode == 0, started.stderr
    with vm.start("--stay", "--root", str(content)) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        seen = next(text for text in lines if text.startswith("run "))
        assert "wait-1" in seen
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert "Stopped showing. The link and the runs go on." in rest
    assert process.returncode == 0
    place.run("stop", "wait-1", cwd=project)


# --- sshd is not installed ------------------------------------------------------------

FAKE_APT = """\
#!/bin/sh
echo "apt-get $*" >>"$HOME/apt.log"
[ "$1" = install ] || exit 0
{install}
"""


def without_sshd(vm: Vm, install: str) -> None:
    """The script sees no sshd; an apt-get of ours "installs" it, or fails to."""
    sshd = require_sshd()
    tools = vm.home / "tools"
    tools.mkdir()
    apt = tools / "apt-get"
    apt.write_text(FAKE_APT.format(install=install.format(sshd=shlex.quote(sshd))))
    apt.chmod(0o755)
    vm.env["PATH"] = f"{tools}:{vm.env['PATH']}"
    vm.under = mounted(f"mount --bind /dev/null {shlex.quote(sshd)}")


def mounted(prelude: str) -> tuple[str, ...]:
    """A command that runs `prelude` in mounts of its own, then what follows."""
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    if subprocess.run([*unshare, "sh", "-c", prelude]).returncode != 0:
        pytest.skip("no private mounts here")
    return (*unshare, "sh", "-c", f'{prelude}; exec "$@"', "sh")


def test_a_missing_sshd_is_installed(vm: Vm) -> None:
    without_sshd(vm, "umount {sshd}")
    done = vm.run()
    assert done.returncode == 0, done.stderr
    assert "not installed yet" in done.stdout
    log = (vm.home / "apt.log").read_text()
    assert "apt-get update" in log
    assert "apt-get install -qq -y openssh-server" in log
    assert vm.ssh("echo", "in").stdout == "in\n"


def test_an_installation_that_fails_shows_its_last_words(vm: Vm) -> None:
    without_sshd(vm, 'echo "E: Unable to locate package openssh-server"; exit 100')
    done = vm.run()
    assert done.returncode == 1
    assert "E: Unable to locate package" in done.stderr
    assert "take a new runtime" in done.stderr


def test_a_home_that_cannot_be_written_to_is_named(vm: Vm) -> None:
    done = vm.run(HOME="/proc/none")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "/proc/none" in done.stderr
