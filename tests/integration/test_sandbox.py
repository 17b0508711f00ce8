"""The sandbox as a product: start, VM folder, simulated tunnel, end."""

from __future__ import annotations

import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from colab_devsync.core.config import LinkConfig
from colab_devsync.errors import ConnectFailed, ForwardRefused, LinkLost
from colab_devsync.link.base import Connection, Link, Stream
from colab_devsync.link.providers import open_link
from colab_devsync.link.sandbox.link import SandboxSpec, ServerProcess, replace_vm
from tests.support.processes import is_alive, wait_until_gone
from tests.support.remotes import never

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="the sandbox needs Linux or macOS"
)

OpenSandbox = Callable[..., Link]


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[OpenSandbox]:
    with ExitStack() as stack:

        def make(**options: Any) -> Link:
            link = open_link(
                LinkConfig(provider="sandbox", **options),
                profile=None,
                state_dir=tmp_path / "state",
                cache_dir=tmp_path / "cache",
                name="demo",
            )
            stack.callback(link.close)
            return link

        yield make


def connect(link: Link) -> Connection:
    return link.connect(never, 30)


def output(connection: Connection, command: str) -> str:
    stream = connection.exec(command)
    text = b"".join(iter(lambda: stream.read(65536), b"")).decode()
    assert stream.exit_status(30) == 0, stream.stderr_tail()
    return text


def test_home_and_working_folder_are_the_vm(
    sandbox: OpenSandbox, tmp_path: Path
) -> None:
    link = sandbox()
    vm = tmp_path / "cache" / "sandbox" / "demo" / "vm"
    assert output(connect(link), "pwd; echo $HOME") == f"{vm}\n{vm}\n"
    assert link.place("/content/demo") == f"{vm}/content/demo"
    assert link.label == "sandbox demo"


def test_the_key_is_private(sandbox: OpenSandbox, tmp_path: Path) -> None:
    connect(sandbox())
    folder = tmp_path / "cache" / "sandbox" / "demo"
    for name in ("client_key", "host_key"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def test_a_restart_is_the_same_vm(sandbox: OpenSandbox) -> None:
    first = sandbox()
    output(connect(first), "echo kept > file")
    first.close()
    assert output(connect(sandbox()), "cat file") == "kept\n"


def test_a_replaced_vm_is_empty(sandbox: OpenSandbox, tmp_path: Path) -> None:
    first = sandbox()
    output(connect(first), "echo lost > file")
    first.close()
    replace_vm(tmp_path / "cache" / "sandbox" / "demo")
    assert output(connect(sandbox()), "ls -A") == ""


def test_a_killed_server_is_started_again(sandbox: OpenSandbox) -> None:
    link = sandbox()
    connection = connect(link)
    server = int(output(connection, "echo $PPID"))
    stream = connection.exec("cat")
    os.kill(server, 9)
    with pytest.raises(LinkLost):
        stream.read(1)
    deadline = time.monotonic() + 30
    while True:
        try:
            again = connect(link)
            break
        except ConnectFailed:
            assert time.monotonic() < deadline
    assert int(output(again, "echo $PPID")) != server


def test_programs_end_with_their_channel_but_not_own_sessions(
    sandbox: OpenSandbox,
) -> None:
    leave = "import os, time; os.setsid(); print('free', os.getpid(), flush=True)"
    script = (
        f'{sys.executable} -c "{leave}; time.sleep(60)" & '
        "sh -c 'echo bound $$; exec sleep 60' & wait"
    )
    stream = connect(sandbox()).exec(script)
    words: list[str] = []
    while len(words) < 4:
        words += stream.read(100).decode().split()
    pids = dict(zip(words[::2], map(int, words[1::2]), strict=True))
    stream.close()
    wait_until_gone(pids["bound"])
    assert is_alive(pids["free"])
    os.kill(pids["free"], 9)


def test_close_ends_the_server_and_its_programs(sandbox: OpenSandbox) -> None:
    link = sandbox()
    stream = connect(link).exec("echo $$ $PPID; exec sleep 60")
    program, server = map(int, stream.read(100).split())
    link.close()
    link.close()
    wait_until_gone(program)
    wait_until_gone(server)


def test_the_server_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from colab_devsync.link.sandbox.link import SandboxLink, SandboxSpec
link = SandboxLink(SandboxSpec(Path({str(tmp_path)!r}) / "box", rtt_ms=1))
stream = link.connect(None, 10).exec("echo $PPID")
print(stream.read(100).decode(), flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -9
    wait_until_gone(int(done.stdout))


def test_only_loopback_can_be_forwarded_to(sandbox: OpenSandbox) -> None:
    with pytest.raises(ForwardRefused):
        connect(sandbox()).connect_tcp("203.0.113.7", 80)


def test_rtt_is_simulated(sandbox: OpenSandbox) -> None:
    stream = connect(sandbox(rtt_ms=60)).exec("cat")
    echo(stream)
    while (took := echo(stream)) >= 0.080:  # the machine may be busy in between
        pass
    assert took >= 0.060


def count(stream: Stream) -> int:
    return sum(map(len, iter(lambda: stream.read(65536), b"")))


def echo(stream: Stream) -> float:
    start = time.monotonic()
    stream.write(b"x")
    assert stream.read(1) == b"x"
    return time.monotonic() - start


def test_bandwidth_is_simulated(sandbox: OpenSandbox) -> None:
    stream = connect(sandbox(bandwidth=4_000_000)).exec("head -c 2000000 /dev/zero")
    start = time.monotonic()
    assert count(stream) == 2_000_000
    assert time.monotonic() - start > 0.4


def test_drop_after_cuts_the_first_connection_only(sandbox: OpenSandbox) -> None:
    link = sandbox(drop_after=300_000)
    stream = connect(link).exec("head -c 2000000 /dev/zero")
    with pytest.raises(LinkLost):
        count(stream)
    again = connect(link).exec("head -c 2000000 /dev/zero")
    assert count(again) == 2_000_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    process = ServerProcess(SandboxSpec(tmp_path / "box"))
    yield process
    process.stop()


def openssh(
    server: ServerProcess, *options: str, command: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    argv = ["ssh", "-F", "none", "-p", str(server.port), "-o", "BatchMode=yes"]
    argv += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    argv += ["-o", "LogLevel=ERROR", "-o", "IdentitiesOnly=yes", *options]
    return subprocess.run(
        [*argv, "root@127.0.0.1", command], input=stdin, capture_output=True, text=True
    )


def test_openssh_works_as_a_client(server: ServerProcess) -> None:
    key = ("-i", str(server.client_key))
    done = openssh(server, *key, command="head -c 3; exit 3", stdin="abcdef")
    assert (done.returncode, done.stdout, done.stderr) == (3, "abc", "")


def test_clients_that_are_gone_at_once_do_no_harm(server: ServerProcess) -> None:
    key = ("-i", str(server.client_key))
    pid = int(openssh(server, *key, command="echo $PPID").stdout)
    os.kill(pid, signal.SIGSTOP)  # so that it takes the connection after its end
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.kill(pid, signal.SIGCONT)
    assert openssh(server, *key, command="echo in").stdout == "in\n"


def test_strangers_are_not_let_in(server: ServerProcess, tmp_path: Path) -> None:
    key = tmp_path / "stranger"
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(keygen, check=True)
    for option in (("-i", str(key)), ("-o", "PubkeyAuthentication=no")):
        done = openssh(server, *option, command="echo in")
        assert done.returncode == 255
        assert "Permission denied (publickey)" in done.stderr
