"""A real SSH server behind a tunnel that resets, freezes, cuts and crawls."""

from __future__ import annotations

import random
import resource
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from colab_devsync.agent.paths import STATE_DIR
from tests.support.project import Project
from tests.support.proxy import ChaosProxy

SEED = 20240
MIB = 1 << 20


def settle(project: Project) -> None:
    """Everything arrived, nothing was taken for a conflict, nothing is left over."""
    project.sync()
    project.assert_same()
    assert project.session.conflicts() == ()
    staging = project.vm / STATE_DIR / "staging"
    assert [one.name for one in staging.iterdir() if one.name[:4] != "part"] == []


@pytest.mark.timeout(300)
def test_saves_survive_a_tunnel_that_breaks_all_the_time(
    project: Project, proxy: ChaosProxy
) -> None:
    draw = random.Random(SEED)
    proxy.shape(rtt_ms=100)
    project.configure(port=proxy.port)
    project.sync()
    until = time.monotonic() + 12
    tick = threading.Event()  # never set: a clock that paces saves and harm
    next_harm = time.monotonic() + draw.uniform(1, 4)
    harms = saves = 0
    while time.monotonic() < until or harms < 3 or saves < 60:
        path = f"m{draw.randrange(12)}.py"
        project.save(path, f"# {saves}\n" * draw.choice((1, 300, 60_000)))
        saves += 1
        if time.monotonic() > next_harm:
            harms += 1
            proxy.unfreeze()
            if draw.random() < 0.5:
                proxy.reset_all()
            else:
                proxy.freeze()
            next_harm = time.monotonic() + draw.uniform(1, 4)
        tick.wait(0.1)
    proxy.unfreeze()
    settle(project)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_cut_at_any_byte_leaves_nothing_wrong(
    project: Project, proxy: ChaosProxy, direction: str
) -> None:
    draw = random.Random(SEED)
    project.configure(port=proxy.port)
    project.sync()
    cuts = sorted(draw.sample(range(1, 700_000 if direction == "up" else 6000), 16))
    for number, count in enumerate([1, 40, *cuts]):
        project.connect()
        proxy.cut_after("up" if direction == "up" else "down", count)
        project.save("a.py", f"# {number}\n")
        project.save("b.py", draw.randbytes(3000))
        project.save("bulk.bin", draw.randbytes(600_000))
        settle(project)


@pytest.mark.timeout(300)
def test_a_killed_session_is_taken_up_by_the_next(project: Project) -> None:
    draw = random.Random(SEED)
    for number in range(5):
        program = str(Path(__file__).with_name("saver.py"))
        command = [sys.executable, program, str(project.root), str(number)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(draw.uniform(0.02, 0.8))
            process.kill()
        settle(project)
        project.close()


@pytest.mark.timeout(300)
def test_saves_pass_a_large_upload_on_a_slow_link(
    project: Project, proxy: ChaosProxy
) -> None:
    project.configure(port=proxy.port)
    project.sync()
    proxy.shape(rtt_ms=100, bandwidth=1e6)
    project.log.clear()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    project.save("large.bin", random.Random(SEED).randbytes(8 * 10**6))
    delays: list[float] = []
    began = time.monotonic()
    while not project.log.mirrored("large.bin"):
        count = len(project.log.mirrored("a.py"))
        project.save("a.py", f"# {count}\n")
        project.wait(
            lambda count=count: len(project.log.mirrored("a.py")) > count,
            "a save passes the upload",
        )
        delays.append(project.log.mirrored("a.py")[-1].ms)
    took_ms = (time.monotonic() - began) * 1000
    project.assert_same()
    states = {e.status.link for e in project.log.events if hasattr(e, "status")}
    assert states <= {"online"}
    print(f"saves of {sorted(map(round, delays))} ms")
    # The upload alone takes 8 s, and all the longer where nothing is fast.
    assert statistics.median(delays) < took_ms / 3
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100 * 1024  # KiB
