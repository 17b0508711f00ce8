"""Links that break: noticed, healed without help, nothing lost, nothing sent twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from colab_devsync.engine.mirroring.large_file import PART
from colab_devsync.errors import LinkLost
from tests.support.files import noted_ranges
from tests.support.processes import agents, wait_until_gone
from tests.support.project import Project
from tests.support.proxy import ChaosProxy
from tests.support.remotes import Login
from tests.support.sshd import Sshd

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def online(project: Project, proxy: ChaosProxy) -> Project:
    """Mirrored through the proxy; the log starts here."""
    project.configure(port=proxy.port)
    project.write("a.py", "a\n")
    project.write("b.py", "b\n")
    project.sync()
    project.log.clear()
    return project


def test_a_reset_connection_heals_and_saves_arrive_once(
    online: Project, proxy: ChaosProxy
) -> None:
    proxy.refuse()
    proxy.reset_all()
    online.wait_was("lost")
    for number in range(10):
        online.save("a.py", f"a{number}\n")
    online.save("new.py", "new\n")
    proxy.refuse(False)
    online.wait_link("online")
    online.wait_arrived("a.py")
    online.wait_arrived("new.py")
    online.sync()
    online.assert_same()
    assert len(online.log.mirrored("a.py")) == 1
    assert len(online.log.mirrored("new.py")) == 1
    assert online.session.conflicts() == ()


def test_a_silent_link_is_noticed_and_healed(
    online: Project, proxy: ChaosProxy
) -> None:
    proxy.freeze()
    online.save("a.py", "into the void\n")
    online.wait_was("lost")
    proxy.reset_all()
    proxy.unfreeze()
    online.wait_link("online")
    online.wait_arrived("a.py")
    assert online.session.conflicts() == ()


def test_an_answer_that_was_lost_is_no_conflict(
    online: Project, proxy: ChaosProxy
) -> None:
    proxy.freeze("down")
    online.save("a.py", "arrives, but we do not hear of it\n")
    online.wait_was("lost")
    online.save("a.py", "and again\n")
    proxy.reset_all()
    proxy.unfreeze()
    online.wait_link("online")
    online.wait_arrived("a.py")
    online.sync()
    assert online.session.conflicts() == ()


@needs_proc
def test_a_killed_agent_is_started_again(online: Project) -> None:
    [agent] = agents(online.vm)
    os.kill(agent, signal.SIGKILL)
    online.wait_was("lost")
    online.save("a.py", "after the kill\n")
    online.wait_arrived("a.py")
    online.wait_link("online")
    assert agents(online.vm) != [agent]
    assert online.session.conflicts() == ()


def test_a_restarted_server_is_found_again(
    project: Project, make_sshd: Callable[..., Sshd]
) -> None:
    sshd = make_sshd()
    login = Login(sshd.port, sshd.user, sshd.identity_file, sshd.fingerprint)
    project.remote.login = login
    project.configure()
    project.write("a.py", "a\n")
    project.sync()
    project.log.clear()
    sshd.close()
    project.wait_was("lost")
    project.save("a.py", "while it was down\n")
    sshd.start()
    project.wait_link("online")
    project.wait_arrived("a.py")
    assert project.session.conflicts() == ()


def test_many_drops_during_an_initial_mirror(
    project: Project, proxy: ChaosProxy
) -> None:
    project.configure(port=proxy.port)
    for number in range(2000):
        project.write(f"d{number % 40}/f{number}.py", f"x = {number}\n" * 50)
    project.write("big.bin", random.Random(1).randbytes(20_000_000))
    future = project.session.sync()
    for size in (200_000, 3_000_000, 6_000_000, 100_000, 2_000_000):
        project.wait_link("online")
        proxy.cut_after("up", size)
        project.log.clear()
        project.wait(
            lambda: project.session.status().link != "online" or future.done(),
            "the next drop",
        )
    result = future.result(90)
    assert result.conflicts == 0
    project.assert_same()
    again = project.sync()
    assert (again.files, again.bytes) == (0, 0)


@needs_proc
def test_large_files_resume_where_they_were(online: Project, proxy: ChaosProxy) -> None:
    size = 20_000_000
    online.write("big.bin", random.Random(2).randbytes(size))
    [agent] = agents(online.vm)
    proxy.refuse()
    proxy.cut_after("up", 15_000_000)
    future = online.session.sync()
    online.wait_was("lost")
    wait_until_gone(agent)  # it stores no more
    missing = not_whole(noted_ranges(online.vm), size)
    assert missing < size
    before = proxy.counts().up
    proxy.refuse(False)
    future.result(90)
    online.assert_same()
    assert proxy.counts().up - before < missing * 1.05 + 200_000


def not_whole(ranges: dict[int, int], size: int) -> int:
    """Bytes of the parts of which something is missing."""
    return sum(
        min(PART, size - part)
        for part in range(0, size, PART)
        if not is_covered(ranges, part, min(part + PART, size))
    )


def is_covered(ranges: dict[int, int], start: int, end: int) -> bool:
    for at, length in sorted(ranges.items()):
        if at <= start:
            start = max(start, at + length)
    return start >= end


def test_disconnect_and_connect(online: Project) -> None:
    assert online.session.disconnect().result(30).link == "offline"
    online.save("a.py", "offline\n")
    assert online.there("a.py") == b"a\n"
    assert online.connect().link == "online"
    online.wait_arrived("a.py")


def test_disconnect_fails_a_sync_that_waits(online: Project, proxy: ChaosProxy) -> None:
    proxy.freeze()
    online.write("a.py", "new\n")
    future = online.session.sync()
    online.session.disconnect().result(30)
    with pytest.raises(LinkLost, match="closed") as caught:
        future.result(30)
    assert "colab-devsync connect" in caught.value.hint


def test_a_frozen_link_does_not_hold_up_the_end(
    online: Project, proxy: ChaosProxy
) -> None:
    proxy.freeze()
    online.save("a.py", "x" * 100_000)
    online.save("big.bin", "y" * 3_000_000)
    online.wait(lambda: online.session.status().pending, "saves on their way")
    started = time.monotonic()
    online.close()
    assert time.monotonic() - started < 60  # and not never


def test_a_sync_through_a_drop_ends_well(online: Project, proxy: ChaosProxy) -> None:
    for number in range(50):
        online.write(f"n{number}.py", f"{number}\n" * 100)
    proxy.cut_after("up", 3000)
    online.sync()
    online.assert_same()


# --- the end of the daemon --------------------------------------------------------

PROGRAM = """
import sys, threading
from pathlib import Path
from colab_devsync.engine.session import Session

root = Path(sys.argv[1])
session = Session(root, profile=None, emit=lambda e: None, ask=lambda q: q.safe)
session.sync().result(30)
print("synced", flush=True)
for line in sys.stdin:
    path, text = line.rstrip("\\n").split(" ", 1)
    (root / path).write_text(text * 1000)
    session.saved(root / path)
    print("saved", flush=True)
"""


@pytest.fixture
def daemon(project: Project, proxy: ChaosProxy) -> subprocess.Popen[str]:
    """The session, in a process that can be killed."""
    project.configure(port=proxy.port, sync="watch = false")
    project.write("a.py", "a\n")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(project.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout
    assert process.stdout.readline() == "synced\n"
    return process


def tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin
    assert process.stdout
    process.stdin.write(line + "\n")
    process.stdin.flush()
    assert process.stdout.readline() == "saved\n"


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_saves_that_were_not_acknowledged_are_no_conflict_after_a_kill(
    project: Project, proxy: ChaosProxy, daemon: subprocess.Popen[str]
) -> None:
    proxy.freeze("down")  # they arrive; the answers do not
    before = proxy.counts().up
    for number in range(3):
        tell(daemon, f"a.py version {number}")
    wanted = (project.root / "a.py").read_bytes()
    until = time.monotonic() + 30
    while project.there("a.py") != wanted:  # no event of ours tells what arrived there
        assert proxy.counts().up >= before
        assert time.monotonic() < until
    kill(daemon)
    proxy.reset_all()
    proxy.unfreeze()
    assert project.sync().conflicts == 0
    project.assert_same()
    project.save("a.py", "after\n")
    project.wait_arrived("a.py")


def test_saves_that_never_left_are_sent_after_a_kill(
    project: Project, proxy: ChaosProxy, daemon: subprocess.Popen[str]
) -> None:
    proxy.freeze()
    tell(daemon, "a.py never left")
    tell(daemon, "new.py never left")
    kill(daemon)
    proxy.reset_all()
    proxy.unfreeze()
    result = project.sync()
    assert (result.files, result.conflicts) == (2, 0)
    project.assert_same()


def test_an_edit_there_after_a_kill_is_still_a_conflict(
    project: Project, proxy: ChaosProxy, daemon: subprocess.Popen[str]
) -> None:
    proxy.freeze()
    tell(daemon, "a.py never left")
    kill(daemon)
    proxy.reset_all()
    proxy.unfreeze()
    project.write_there("a.py", "theirs\n")
    assert project.sync().conflicts == 1
    assert project.there("a.py") == b"theirs\n"
