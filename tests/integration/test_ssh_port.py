"""Plain ssh, scp, sftp and rsync reach the VM through the session's one connection."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from colab_devsync.core.events import Problem, SshReady
from colab_devsync.core.ssh_access import SshAccess
from colab_devsync.daemon.ssh_config import SshConfig
from tests.support.ports import free_port
from tests.support.project import Project
from tests.support.proxy import ChaosProxy
from tests.support.remotes import Remote, RemoteServer
from tests.support.sshd import Sshd

TIMEOUT_S = 40


class Person:
    """Somebody with OpenSSH and the configuration that we wrote for them."""

    def __init__(self, folder: Path) -> None:
        self.config = SshConfig(folder / ".ssh")

    def told(self, access: SshAccess) -> None:
        self.config.install(access)

    def run(
        self, tool: str, *arguments: str, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [tool, "-F", str(self.config.path), "-oBatchMode=yes", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def says(self, tool: str, *arguments: str, stdin: str = "") -> str:
        """What it prints; it must succeed and have nothing to complain about."""
        done = self.run(tool, *arguments, stdin=stdin)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(tmp_path / "home of ann")


def accesses(project: Project) -> list[SshAccess]:
    return [one.access for one in list(project.log.events) if isinstance(one, SshReady)]


@pytest.fixture
def alias(project: Project, person: Person) -> str:
    """A connected project; `person` can reach it under the returned name."""
    project.connect()
    (access,) = accesses(project)
    person.told(access)
    return access.alias


def hello(person: Person, alias: str) -> None:
    assert person.says("ssh", alias, "echo hello") == "hello\n"


def test_ssh_runs_commands(alias: str, person: Person, project: Project) -> None:
    assert alias == "colab-project"
    done = person.run("ssh", alias, "cat; exit 7", stdin="abc")
    assert (done.returncode, done.stdout, done.stderr) == (7, "abc", "")
    assert project.session.ssh.problem is None


def test_ssh_has_a_terminal(alias: str, person: Person) -> None:
    done = person.run("ssh", "-tt", alias, "test -t 1 && echo terminal")
    assert (done.returncode, done.stdout) == (0, "terminal\n")


def test_scp_and_sftp_copy_both_ways(
    alias: str, person: Person, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    data = os.urandom(2_000_000)
    (tmp_path / "a").write_bytes(data)
    person.says("scp", "-q", str(tmp_path / "a"), f"{alias}:{there}/a")
    assert (there / "a").read_bytes() == data
    person.says("scp", "-q", f"{alias}:{there}/a", str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == data
    script = f"cd {there}\nrename a c\nget c {tmp_path}/c\n"
    person.says("sftp", "-q", "-b", "-", alias, stdin=script)
    assert (tmp_path / "c").read_bytes() == data


def test_rsync_copies(alias: str, person: Person, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(20):
        (tree / f"f{number}").write_bytes(os.urandom(5_000))
    shell = f"ssh -F '{person.config.path}' -oBatchMode=yes"
    argv = ["rsync", "-a", "-e", shell, f"{tree}/", f"{alias}:{tmp_path}/copy/"]
    done = subprocess.run(argv, capture_output=True, timeout=TIMEOUT_S, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    same = subprocess.run(["diff", "-r", tree, tmp_path / "copy"], check=False)
    assert same.returncode == 0


def test_it_is_not_the_connection_of_the_session_that_is_shared(
    alias: str, person: Person, project: Project
) -> None:
    """A program of the person's cannot take the session's channels away."""
    argv = ["ssh", "-F", str(person.config.path), alias, "echo up; exec sleep 60"]
    with contextlib.ExitStack() as running:
        for _ in range(12):  # more than the sessions that a server gives a connection
            one = running.enter_context(
                subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
            )
            running.callback(one.kill)
            assert one.stdout is not None
            assert one.stdout.readline() == b"up\n"
        project.log.clear()
        project.save("a.py", "1\n")
        project.wait_arrived("a.py")
        assert project.session.status().link == "online"


# --- the link comes and goes ------------------------------------------------------


def test_it_works_again_after_a_reconnect(
    project: Project, proxy: ChaosProxy, person: Person
) -> None:
    project.configure(port=proxy.port)
    project.connect()
    (access,) = accesses(project)
    person.told(access)
    hello(person, access.alias)
    project.log.clear()
    proxy.reset_all()
    project.wait_was("lost")
    hello(person, access.alias)  # without waiting for the link: the port does that
    project.wait_link("online")
    hello(person, access.alias)
    assert accesses(project) == []  # nothing about it changed


def test_a_cut_ends_the_persons_connection_at_once(
    project: Project, proxy: ChaosProxy, person: Person
) -> None:
    project.configure(port=proxy.port)
    project.connect()
    (access,) = accesses(project)
    person.told(access)
    argv = ["ssh", "-F", str(person.config.path), access.alias, "echo up; sleep 60"]
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        proxy.reset_all()
        running.communicate(timeout=30)
        assert running.returncode == 255


@pytest.fixture
def replacement(
    remote_kind: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RemoteServer]:
    server = RemoteServer(remote_kind, tmp_path_factory.mktemp("replacement"))
    yield server
    server.close()


def test_it_works_again_when_the_vm_was_replaced(
    project: Project, alias: str, person: Person, replacement: RemoteServer
) -> None:
    (old,) = accesses(project)
    known = Path(old.known_hosts).read_text()
    hello(person, alias)
    login = replacement.login
    project.log.clear()
    project.configure(
        port=login.port,
        host_key=login.fingerprint,
        identity_file=str(login.identity_file),
    )
    project.session.config_changed()
    project.wait(lambda: accesses(project), "the new VM's SSH server")
    (new,) = accesses(project)
    assert (new.port, new.alias) == (old.port, old.alias)
    assert new.identity_file == str(login.identity_file)
    person.config.refresh(new)  # what the daemon does at once
    assert Path(new.known_hosts).read_text() != known
    hello(person, alias)


def test_another_machine_at_the_port_is_refused(
    alias: str, person: Person, project: Project, replacement: RemoteServer
) -> None:
    """The alias trusts what the session trusts and nothing else."""
    (access,) = accesses(project)
    public = subprocess.run(
        ["ssh-keygen", "-y", "-f", str(replacement.login.identity_file)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    known_hosts = Path(access.known_hosts)
    for text in (f"{alias} {public}", ""):
        known_hosts.write_text(text)
        done = person.run("ssh", alias, "echo in")
        assert (done.returncode, done.stdout) == (255, "")
        assert "Host key verification failed" in done.stderr


def test_servers_that_forbid_forwards_are_reached_too(
    project: Project, person: Person, make_sshd: Callable[..., Sshd]
) -> None:
    sshd = make_sshd(forwarding=False)
    project.configure(
        port=sshd.port,
        host_key=sshd.fingerprint,
        user=sshd.user,
        identity_file=str(sshd.identity_file),
    )
    project.connect()
    (access,) = accesses(project)
    person.told(access)
    hello(person, access.alias)


# --- the port ---------------------------------------------------------------------


def port_of(project: Project) -> int:
    access = project.session.ssh.access
    assert access is not None
    return access.port


def listening(port: int) -> set[str]:
    """The addresses at which somebody listens on `port`, as Linux writes them."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            address, number = line.split()[1].split(":")
            if int(number, 16) == port and line.split()[3] == "0A":
                found.add(address)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_only_this_machine_can_connect(alias: str, project: Project) -> None:
    assert listening(port_of(project)) == {"0100007F"}


def test_the_port_is_kept(project: Project) -> None:
    project.connect()
    first = port_of(project)
    project.close()
    project.connect()
    assert port_of(project) == first
    project.session.disconnect().result(30)
    project.connect()
    assert port_of(project) == first


@contextlib.contextmanager
def somebody_at(port: int) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", port)):
        yield


def moved(project: Project) -> Sequence[Problem]:
    problems = project.session.status().problems
    return [one for one in problems if "is taken" in one.message]


def test_a_taken_port_is_replaced_and_said_once(project: Project) -> None:
    project.connect()
    first = port_of(project)
    project.close()
    with somebody_at(first):
        project.connect()
        second = port_of(project)
        assert second != first
        project.wait(lambda: moved(project), "it is said")
        assert str(first) in moved(project)[0].message
        assert str(second) in moved(project)[0].message
        (forward,) = project.session.status().forwards
        assert (forward.name, forward.moved_from) == ("ssh", first)
        project.close()
    project.connect()
    assert port_of(project) == second  # kept
    project.sync()
    assert moved(project) == []


def test_the_configured_port_is_used(project: Project, person: Person) -> None:
    first, second = free_port(), free_port()
    project.configure(more=f"[ssh]\nlocal_port = {first}")
    project.connect()
    assert port_of(project) == first
    project.configure(more=f"[ssh]\nlocal_port = {second}")
    project.session.config_changed()
    project.wait(lambda: len(accesses(project)) == 2, "the other port is opened")
    assert port_of(project) == second
    person.told(accesses(project)[-1])
    hello(person, "colab-project")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", first)) != 0


def test_a_configured_port_comes_back_when_it_is_free(project: Project) -> None:
    wish = free_port()
    project.configure(more=f"[ssh]\nlocal_port = {wish}")
    with somebody_at(wish):
        project.connect()
        assert port_of(project) != wish
        project.close()
    project.connect()
    assert port_of(project) == wish


def test_profiles_have_names_and_ports_of_their_own(
    project: Project, remote: Remote
) -> None:
    from colab_devsync.engine.session import Session

    project.configure(more='[profiles."gpu.2".remote]\npython = "python3"')
    project.connect()
    other = Session(
        project.root, profile="gpu.2", emit=lambda event: None, ask=lambda q: q.safe
    )
    project.session.disconnect().result(30)  # one session per remote folder
    try:
        other.connect().result(30)
        access = other.ssh.access
        assert access is not None
        assert (access.alias, access.profile) == ("colab-project-gpu.2", "gpu.2")
        assert access.port != port_of(project)
        assert access.known_hosts != accesses(project)[0].known_hosts
    finally:
        other.close()
