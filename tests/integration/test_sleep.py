"""A laptop that sleeps in the middle of a transfer: it goes on when it wakes up."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from colab_devsync.remote.liveness import SILENCE_S
from tests.support.project import Project
from tests.support.proxy import ChaosProxy
from tests.support.pulls import Pulling, noise, rule

SIZE = 8_000_000
IN_FLIGHT = 2_500_000  # at most, on the way or in the system's buffers
PATIENCE_S = 60.0
PROGRAM = """
import sys
from pathlib import Path
from colab_devsync.core.pushing import PushSpec
from colab_devsync.engine.session import Session

root, *push = sys.argv[1:]
session = Session(Path(root), profile=None, emit=lambda e: None, ask=lambda q: q.safe)
if push:
    done = session.pushes.start(PushSpec(Path(push[0]), push[1])).result()
else:
    done = session.pulls.pull().result()
print(done.files, flush=True)
session.close()
"""

pytestmark = [
    pytest.mark.openssh,
    pytest.mark.skipif(sys.platform == "win32", reason="needs SIGSTOP"),
]


def sleeps(process: subprocess.Popen[bytes], proxy: ChaosProxy, how: str) -> None:
    """For longer than the link may be silent; meanwhile the tunnel ends, or not."""
    process.send_signal(signal.SIGSTOP)
    if how == "the tunnel ends":
        proxy.reset_all()
    threading.Event().wait(SILENCE_S * 1.5)
    proxy.shape()
    process.send_signal(signal.SIGCONT)


def until(look: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not look():
        assert process.poll() is None, "it has ended"
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


def start(project: Project, *arguments: str) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-c", PROGRAM, str(project.root), *arguments]
    root = Path(__file__).parents[2]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=root)


@pytest.mark.parametrize("how", ["the tunnel stays", "the tunnel ends"])
def test_in_the_middle_of_a_pull(project: Project, proxy: ChaosProxy, how: str) -> None:
    project.configure(port=proxy.port, more=rule())
    pulling = Pulling(project)
    pulling.put("a.pt", noise(SIZE))
    proxy.shape(bandwidth=6_000_000)
    with start(project) as process:
        until(lambda: proxy.counts().down > SIZE // 2, process)
        sleeps(process, proxy, how)
        said, _ = process.communicate(timeout=PATIENCE_S)
    assert said == b"1\n"
    assert pulling.read("a.pt") == noise(SIZE)
    assert pulling.files() == {"a.pt"}
    assert proxy.counts().down < SIZE + IN_FLIGHT


def test_in_the_middle_of_a_push(
    project: Project, proxy: ChaosProxy, tmp_path: Path
) -> None:
    project.configure(port=proxy.port)
    local, there = tmp_path / "data.bin", tmp_path / "there" / "data.bin"
    local.write_bytes(noise(SIZE))
    proxy.shape(bandwidth=6_000_000)
    with start(project, str(local), str(there)) as process:
        until(lambda: proxy.counts().up > SIZE // 2, process)
        sleeps(process, proxy, "the tunnel ends")
        said, _ = process.communicate(timeout=PATIENCE_S)
    assert said == b"1\n"
    assert there.read_bytes() == noise(SIZE)
    assert [path.name for path in there.parent.iterdir()] == ["data.bin"]
    assert proxy.counts().up < SIZE + IN_FLIGHT
