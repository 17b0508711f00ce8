"""A VM whose clock is hours off: it decides what is newest there, and nothing else."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from tests.support.project import CONFIG, Project
from tests.support.pulls import BIG, Pulling, noise, rule

HOURS = 5 * 3600
# Runs what `python OPTIONS -c CODE` would, by a clock that is AHEAD seconds ahead.
CLOCK = """#!{python}
import sys, time

def ahead(clock, by):
    return lambda: clock() + by

time.time = ahead(time.time, {ahead})
time.time_ns = ahead(time.time_ns, {ahead} * 10**9)
at = sys.argv.index("-c")
code, sys.argv = sys.argv[at + 1], ["-c", *sys.argv[at + 2:]]
exec(code)
"""


@pytest.mark.openssh
@pytest.mark.parametrize("ahead", [HOURS, -HOURS])
def test_clocks_that_do_not_agree(project: Project, tmp_path: Path, ahead: int) -> None:
    python = tmp_path / "python"
    python.write_text(CLOCK.format(python=sys.executable, ahead=ahead))
    python.chmod(0o755)
    project.configure(more=rule(more="keep = 2"))
    config = project.root / CONFIG
    line = f"[remote]\npython = {json.dumps(str(python))}"
    config.write_text(config.read_text().replace("[remote]", line))
    pulling = Pulling(project)

    def at_vm(seconds: float) -> int:
        """So long ago, by the VM's clock; nanoseconds."""
        return int((time.time() + ahead - seconds) * 1e9)

    pulling.put("older.pt", noise(BIG, 1), mtime_ns=at_vm(300))
    pulling.put("new.pt", b"new", mtime_ns=at_vm(200))
    pulling.put("old.pt", b"old", mtime_ns=at_vm(250))
    pulling.pull()
    assert pulling.files() == {"new.pt", "old.pt"}
    info = pulling.info()
    assert info.newest == "new.pt"
    assert info.newest_at is not None
    assert 150 < time.time() - info.newest_at < 300
    # Finished this moment, by the VM's clock, and still written.
    with open(pulling.there / "slow.pt", "wb") as stream:
        stream.write(b"half")
        stream.flush()
        pulling.put("newest.pt", noise(BIG, 2), mtime_ns=at_vm(0))
        pulling.wait("newest.pt", noise(BIG, 2))
        assert pulling.read("slow.pt") is None
        stream.write(b" and half")
    os.utime(pulling.there / "slow.pt", ns=(at_vm(0), at_vm(0)))
    pulling.wait("slow.pt", b"half and half")
    pulling.until(lambda: pulling.files() == {"newest.pt", "slow.pt"}, "two are kept")
    assert (pulling.here / "newest.pt").stat().st_mtime_ns == (
        pulling.there / "newest.pt"
    ).stat().st_mtime_ns
    project.save("train.py", "saved\n")
    project.wait_arrived("train.py")


@pytest.mark.openssh
def test_times_that_cannot_be(project: Project) -> None:
    """From tomorrow, and from before there was a clock."""
    project.configure(more=rule())
    pulling = Pulling(project)
    tomorrow, ancient = int((time.time() + 86_400) * 1e9), -(10**18)
    pulling.put("tomorrow.pt", noise(BIG), mtime_ns=tomorrow)
    pulling.put("ancient.pt", b"ancient", mtime_ns=ancient)
    pulling.put("zero.pt", b"zero", mtime_ns=0)
    assert pulling.pull()[0] == 3
    assert pulling.files() == {"tomorrow.pt", "ancient.pt", "zero.pt"}
    assert (pulling.here / "ancient.pt").stat().st_mtime_ns == ancient
    assert pulling.info().newest == "tomorrow.pt"
    assert pulling.pull() == (0, 0)
    project.close()
    assert pulling.pull() == (0, 0)
