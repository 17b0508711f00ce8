"""Provider `command`: SSH over the streams of real programs, and their failures."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from colab_devsync.core.events import Question
from colab_devsync.errors import ConfigError, ConnectFailed
from colab_devsync.link.base import Connection
from colab_devsync.link.command import CommandWire
from tests.support.project import Project
from tests.support.proxy import ChaosProxy
from tests.support.remotes import Remote
from tests.support.sshd import Sshd
from tests.support.streams import receive

MB = 1_000_000


def through(remote: Remote, *argv: str, **options: Any) -> Connection:
    return remote.connect(provider="command", host=None, proxy_command=argv, **options)


def socat(port: int) -> tuple[str, ...]:
    return ("socat", "STDIO", f"TCP:127.0.0.1:{port}")


def python(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


def threads() -> set[threading.Thread]:
    return {one for one in threading.enumerate() if "-command" in one.name}


def children(pid: int | str = "self") -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [
        int(one) for task in tasks for one in (task / "children").read_text().split()
    ]


def pids_of(program: str, parents: list[int]) -> list[int]:
    below = [pid for parent in parents for pid in children(parent)]
    return [p for p in below if Path(f"/proc/{p}/comm").read_text().strip() == program]


def pid_of(program: str) -> int:
    """Our only child of this name."""
    (found,) = pids_of(program, [os.getpid()])
    return found


def wait_gone(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            assert select.select([handle], [], [], 10)[0], f"{pid} still runs"
        finally:
            os.close(handle)


def test_everything_works_through_socat(remote: Remote) -> None:
    before = threads()
    connection = through(remote, *socat(remote.login.port))
    program = connection.exec(f"head -c {20 * MB} | wc -c")
    program.write(os.urandom(20 * MB))
    assert receive(program, 9) == b"%d\n" % (20 * MB)
    pid = pid_of("socat")
    connection.close()
    wait_gone(pid)
    for thread in threads() - before:
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.openssh
def test_everything_works_through_ssh_w(
    remote: Remote, make_sshd: Callable[..., Sshd], tmp_path: Path
) -> None:
    jump = make_sshd()
    argv = ["ssh", "-F", "none", "-i", str(jump.identity_file), "-p", str(jump.port)]
    for option in ("BatchMode=yes", "StrictHostKeyChecking=accept-new"):
        argv += ["-o", option]
    argv += ["-o", f"UserKnownHostsFile={tmp_path / 'known'}"]
    argv += ["-W", f"127.0.0.1:{remote.login.port}", f"{jump.user}@127.0.0.1"]
    connection = through(remote, *argv)
    assert receive(connection.exec("echo in"), 3) == b"in\n"


def test_a_host_key_is_asked_about_once_per_command(remote: Remote) -> None:
    asked: list[Question] = []

    def yes(question: Question) -> str:
        asked.append(question)
        return "yes"

    argv = socat(remote.login.port)
    for _ in range(2):
        through(remote, *argv, host_key=None, ask=yes).close()
    through(remote, "socat", "-d", *argv[1:], host_key=None, ask=yes).close()
    assert len(asked) == 2
    assert " ".join(argv) in asked[0].text


@pytest.mark.openssh
def test_a_program_that_does_not_exist(remote: Remote) -> None:
    with pytest.raises(ConfigError, match="no-such-program") as caught:
        through(remote, "no-such-program", "x")
    assert "proxy_command" in caught.value.message


@pytest.mark.openssh
def test_how_a_program_ended_is_said(remote: Remote) -> None:
    words = "import sys; sys.exit('login first:\\n  tool login')"
    with pytest.raises(ConnectFailed) as caught:
        through(remote, *python(words))
    assert "ended with code 1" in caught.value.message
    assert "login first: / tool login" in caught.value.message
    assert "terminal" in caught.value.hint


@pytest.mark.openssh
def test_a_program_that_is_killed_by_a_signal(remote: Remote) -> None:
    with pytest.raises(ConnectFailed, match="ended with signal 9"):
        through(remote, *python("import os; os.kill(os.getpid(), 9)"))


@pytest.mark.openssh
def test_a_program_that_says_something_else(remote: Remote) -> None:
    words = "print('<html>', flush=True); import sys; sys.stdin.read()"
    with pytest.raises(ConnectFailed, match="did not finish") as caught:
        through(remote, *python(words), timeout_s=0.5)
    assert "SSH-2.0" in caught.value.hint


def test_its_children_end_with_it() -> None:
    wire = CommandWire(("sh", "-c", "sleep 600 & echo $!; wait"))
    child = int(wire.recv(100))
    wire.close()
    wait_gone(child)


def test_a_program_that_reads_nothing_does_not_block_the_end() -> None:
    """Its pipe is full, and it ignores SIGTERM."""
    words = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print(os.getpid(), flush=True); time.sleep(600)"
    )
    wire = CommandWire(python(words))
    pid = int(wire.recv(100))
    ended: list[type[Exception]] = []

    def send() -> None:
        try:
            while True:
                wire.send(bytes(MB))
        except OSError as error:
            ended.append(type(error))

    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    wire.close()
    wire.close()
    sending.join(30)
    assert len(ended) == 1
    wait_gone(pid)


def command_project(project: Project, port: int) -> None:
    project.configure(provider="command", host=None, proxy_command=socat(port))


@pytest.mark.openssh
def test_a_mirror_through_a_command_heals(project: Project) -> None:
    """Killed, then frozen: found by its end, and by the pings."""
    command_project(project, project.remote.login.port)
    project.write("a.py", "one")
    project.sync()
    for number, sent in enumerate((signal.SIGKILL, signal.SIGSTOP)):
        project.log.clear()
        os.kill(pid_of("socat"), sent)
        project.wait_was("lost")
        project.save("a.py", f"two {number}")
        project.wait_link("online")
        project.wait_arrived("a.py")
    project.assert_same()


@pytest.mark.openssh
def test_a_tunnel_that_drops_behind_the_command(
    project: Project, proxy: ChaosProxy
) -> None:
    command_project(project, proxy.port)
    project.write("a.py", "one")
    project.sync()
    project.log.clear()
    proxy.reset_all()
    project.wait_was("lost")
    project.save("a.py", "two")
    project.wait_link("online")
    project.wait_arrived("a.py")


@pytest.mark.openssh
def test_what_the_program_started_goes_with_it(remote: Remote) -> None:
    script = f"{' '.join(socat(remote.login.port))}; exit"
    connection = through(remote, "sh", "-c", script)
    shells = pids_of("sh", [os.getpid()])  # the guard of a real sshd is one, too
    (child,) = pids_of("socat", shells)
    connection.close()
    wait_gone(child)
