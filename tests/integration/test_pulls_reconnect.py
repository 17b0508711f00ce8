"""Links that break and daemons that die while files come home: resumed, never mixed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from colab_devsync.core.events import PullsInDanger
from colab_devsync.core.pulls import PullInfo, PullResult
from colab_devsync.engine.session import Session
from colab_devsync.errors import LinkLost
from tests.support.project import WAIT_S, Project
from tests.support.proxy import ChaosProxy
from tests.support.pulls import BIG, Pulling, noise, rule

HUGE = 12_000_000
HANDSHAKE = 100_000  # bytes; and all that is not the file


@pytest.fixture
def pulling(project: Project, proxy: ChaosProxy) -> Pulling:
    project.configure(port=proxy.port, more=rule())
    return Pulling(project)


@pytest.fixture
def online(pulling: Pulling) -> Pulling:
    pulling.there.mkdir()
    pulling.pull()
    return pulling


@pytest.mark.parametrize("share", [0, 0.02, 0.3, 0.9, 0.999])
def test_a_cut_anywhere_costs_nothing_twice(
    online: Pulling, proxy: ChaosProxy, share: float
) -> None:
    data = noise(BIG)
    proxy.refuse()
    count = proxy.counts().connections
    proxy.cut_after("down", int(BIG * share) + 1)
    online.put("a.pt", data)
    online.wait_cut(proxy, count)
    only_the_rest_comes(online, proxy, data)
    assert online.files() == {"a.pt"}


def only_the_rest_comes(online: Pulling, proxy: ChaosProxy, data: bytes) -> None:
    """The link is cut, and connections are refused: how much is here is certain."""
    missing = len(data) - online.stored("a.pt", data)
    before = proxy.counts().down
    proxy.refuse(False)
    online.wait("a.pt", data)
    assert proxy.counts().down - before < missing * 1.05 + HANDSHAKE


def test_many_cuts_in_a_row(online: Pulling, proxy: ChaosProxy) -> None:
    data = noise(HUGE)
    stored = 0
    proxy.refuse()
    count = proxy.counts().connections
    proxy.cut_after("down", 700_000)
    online.put("a.pt", data)
    for size in (40_000, 1_500_000, 90_000, 2_000_000):
        online.wait_cut(proxy, count)
        before, stored = stored, online.stored("a.pt", data)
        assert before <= stored < HUGE
        proxy.cut_after("down", size)
        proxy.refuse(after=1)
        count += 1
    online.wait_cut(proxy, count)
    assert stored <= online.stored("a.pt", data)
    only_the_rest_comes(online, proxy, data)


def test_what_has_arrived_is_kept(online: Pulling, proxy: ChaosProxy) -> None:
    data = noise(BIG)
    proxy.shape(bandwidth=1_000_000)
    before = proxy.counts().down
    online.put("a.pt", data)
    online.until(lambda: 0 < online.info().waiting_bytes < BIG * 3 // 4, "it comes")
    proxy.freeze("down")
    came = proxy.counts().down - before
    online.until(
        # But for the frames around it, and half a packet at the end.
        lambda: BIG - online.info().waiting_bytes > came * 0.95 - 50_000,
        "all that the proxy has delivered is here",
    )
    proxy.refuse()
    count = proxy.counts().connections
    proxy.reset_all()
    proxy.unfreeze()
    proxy.shape()
    online.wait_cut(proxy, count)
    assert online.stored("a.pt", data) > came * 0.95 - 50_000
    only_the_rest_comes(online, proxy, data)


def test_a_new_session_goes_on_where_the_last_one_was(
    pulling: Pulling, proxy: ChaosProxy
) -> None:
    data = noise(HUGE)
    pulling.put("a.pt", data)
    proxy.shape(bandwidth=2_000_000)
    pulling.project.connect()
    pulling.until(
        lambda: _coming(pulling).waiting_bytes < HUGE * 2 // 3, "a third is here"
    )
    pulling.project.close()
    assert len(pulling.parts()) == 1
    proxy.shape()
    before = proxy.counts().down
    pulling.pull()
    assert pulling.read("a.pt") == data
    assert proxy.counts().down - before < HUGE * 3 // 4
    assert pulling.files() == {"a.pt"}


def test_a_part_that_nobody_goes_on_with_leaves(
    pulling: Pulling, proxy: ChaosProxy
) -> None:
    pulling.project.configure(port=proxy.port, more=rule(more="keep = 1"))
    pulling.put("old.pt", noise(HUGE), mtime_ns=10**18)
    proxy.shape(bandwidth=4_000_000)
    pulling.project.connect()
    pulling.until(lambda: _coming(pulling).waiting_bytes < HUGE, "it comes")
    pulling.project.close()
    assert len(pulling.parts()) == 1
    proxy.shape()
    pulling.put("new.pt", b"new", mtime_ns=10**18 + 1)
    pulling.pull()
    assert pulling.files() == {"new.pt"}


@pytest.mark.parametrize("more", ["", "elsewhere"])
def test_the_parts_of_a_rule_that_is_gone_leave(
    pulling: Pulling, proxy: ChaosProxy, more: str
) -> None:
    project, mine = pulling.project, "somebody's own.part"
    without = rule(more=f'local = "{more}"') if more else ""
    pulling.put("a.pt", noise(HUGE))
    pulling.here.mkdir()
    (pulling.here / mine).write_bytes(b"mine")
    proxy.shape(bandwidth=500_000)
    project.connect()
    # While nobody looks; and while it comes.
    for is_open in (False, True):
        pulling.until(lambda: _coming(pulling).waiting_bytes < HUGE, "it comes")
        pulling.until(lambda: bool(pulling.parts()), "a part of it is here")
        if not is_open:
            project.close()
        project.configure(port=proxy.port, more=without)
        if is_open:
            project.session.config_changed()
        else:
            project.connect()
        pulling.until(lambda: pulling.files() == {mine}, "the part has left")
        project.configure(port=proxy.port, more=rule())
        project.session.config_changed()
    assert (pulling.here / mine).read_bytes() == b"mine"


def test_profiles_that_share_a_folder_leave_each_other_alone(
    pulling: Pulling, proxy: ChaosProxy, tmp_path: Path
) -> None:
    project, vm = pulling.project, tmp_path / "other"
    more = f"[profiles.other.remote]\nroot = {json.dumps(str(vm))}\n"
    project.configure(port=proxy.port, more=rule() + more)
    data = noise(HUGE)
    pulling.put("a.pt", data)
    proxy.shape(bandwidth=2_000_000)
    project.connect()
    pulling.until(lambda: bool(pulling.parts()), "a part of it is here")
    [part] = pulling.parts()
    (vm / "checkpoints").mkdir(parents=True)
    (vm / "checkpoints" / "b.pt").write_bytes(b"b")
    other = Session(
        project.root, profile="other", emit=lambda event: None, ask=lambda q: q.safe
    )
    try:
        other.connect().result(WAIT_S)
        other.pulls.pull().result(WAIT_S)
    finally:
        other.close()
    assert pulling.read("b.pt") == b"b"
    assert part.exists()
    proxy.shape()
    pulling.wait("a.pt", data)
    pulling.until(lambda: pulling.files() == {"a.pt", "b.pt"}, "no part is left")


def _coming(pulling: Pulling) -> PullInfo:
    infos = pulling.project.session.status().pulls
    return infos[0] if infos and infos[0].waiting else _NOTHING


_NOTHING = PullInfo("", "", "", waiting_bytes=1 << 60)


def test_a_file_that_is_replaced_meanwhile_is_never_mixed(
    online: Pulling, proxy: ChaosProxy
) -> None:
    proxy.shape(bandwidth=6_000_000)
    versions = [noise(BIG, seed) for seed in range(4)]
    for data in versions:
        online.put("last.pt", data)
        online.until(
            lambda: online.info().waiting_bytes < BIG * 2 // 3 or not _lags(online),
            "some of it is here",
        )
        assert online.read("last.pt") in [None, *versions]
    online.wait("last.pt", versions[-1])


def _lags(online: Pulling) -> bool:
    return online.info().waiting > 0


def test_a_file_that_is_written_over_in_place_is_never_mixed(
    online: Pulling, proxy: ChaosProxy
) -> None:
    proxy.shape(bandwidth=500_000)
    old, new = noise(BIG, 1), noise(BIG, 2)
    online.put("a.pt", old)
    online.until(lambda: 0 < online.info().waiting_bytes < BIG * 3 // 4, "it comes")
    with open(online.there / "a.pt", "r+b") as stream:
        for at in range(0, BIG, 500_000):
            stream.seek(at)
            stream.write(new[at : at + 500_000])
            assert online.read("a.pt") in (None, old)
    proxy.shape()
    online.wait("a.pt", new)


def test_a_file_that_is_cut_off_meanwhile_comes_as_it_is_then(
    online: Pulling, proxy: ChaosProxy
) -> None:
    proxy.shape(bandwidth=4_000_000)
    online.put("a.pt", noise(BIG))
    online.until(lambda: 0 < online.info().waiting_bytes < BIG, "it comes")
    os.truncate(online.there / "a.pt", 1_000_000)
    proxy.shape()
    online.wait("a.pt", noise(BIG)[:1_000_000])
    online.until(lambda: online.files() == {"a.pt"}, "nothing else is left")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has what")
def test_the_vm_holds_nothing_that_is_not_wanted_any_more(
    online: Pulling, proxy: ChaosProxy
) -> None:
    """It would take its disk."""
    proxy.shape(bandwidth=4_000_000)
    online.put("a.pt", noise(HUGE, 1))
    online.until(lambda: 0 < online.info().waiting_bytes < HUGE, "it comes")
    online.put("a.pt", noise(BIG, 2))  # one is given up ...
    proxy.shape()
    online.wait("a.pt", noise(BIG, 2))
    os.utime(online.there / "a.pt")  # ... of the other, only the hash is asked for
    assert online.pull() == (2, 2 * BIG)
    os.unlink(online.there / "a.pt")
    name = str(online.there / "a.pt")
    online.until(lambda: name not in _held(), "it is not held")


def _held() -> str:
    """The names of all open files."""
    names = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            names.append(os.readlink(link))
    return "\n".join(names)


def test_a_file_that_goes_away_meanwhile_leaves_nothing(
    online: Pulling, proxy: ChaosProxy
) -> None:
    proxy.shape(bandwidth=4_000_000)
    online.put("a.pt", noise(HUGE))
    online.until(lambda: 0 < online.info().waiting_bytes < HUGE, "it comes")
    with open(online.there / "a.pt", "r+b") as stream:
        stream.truncate(1000)
    os.unlink(online.there / "a.pt")
    online.until(lambda: online.info().waiting == 0, "it is not waited for")
    online.until(lambda: not online.files(), "nothing is left of it")


def test_the_newest_comes_first(online: Pulling, proxy: ChaosProxy) -> None:
    proxy.shape(bandwidth=2_000_000)
    online.put("old.pt", noise(HUGE, 1), mtime_ns=10**18)
    online.until(lambda: 0 < online.info().waiting_bytes < HUGE, "the old one comes")
    online.put("new.pt", noise(BIG, 2), mtime_ns=2 * 10**18)
    online.wait("new.pt", noise(BIG, 2))
    proxy.shape()
    online.wait("old.pt", noise(HUGE, 1))
    online.until(lambda: online.pulled() == ["new.pt", "old.pt"], "in this order")


def test_a_part_that_was_damaged_here_is_fetched_anew_at_once(
    pulling: Pulling, proxy: ChaosProxy
) -> None:
    data = noise(HUGE)
    pulling.put("a.pt", data)
    proxy.shape(bandwidth=2_000_000)
    pulling.project.connect()
    pulling.until(
        lambda: _coming(pulling).waiting_bytes < HUGE * 2 // 3, "a third is here"
    )
    pulling.project.close()
    [part] = pulling.parts()
    with part.open("r+b") as stream:
        stream.write(bytes(100_000))
    proxy.shape()
    pulling.pull()
    assert pulling.read("a.pt") == data
    assert pulling.files() == {"a.pt"}


def test_two_who_pull_at_the_same_time_hear_the_same(
    pulling: Pulling, proxy: ChaosProxy
) -> None:
    pulling.put("a.pt", b"12345")
    proxy.freeze()
    pulls = [pulling.project.session.pulls.pull() for _ in range(2)]
    proxy.unfreeze()
    assert [one.result(WAIT_S) for one in pulls] == [PullResult(1, 5)] * 2
    assert pulling.pull() == (0, 0)


def test_a_disconnect_ends_a_pull_that_waits(
    online: Pulling, proxy: ChaosProxy
) -> None:
    proxy.shape(bandwidth=1_000_000)
    online.put("a.pt", noise(HUGE))
    future = online.project.session.pulls.pull()
    online.until(lambda: 0 < online.info().waiting_bytes < HUGE, "it comes")
    online.project.session.disconnect().result(30)
    with pytest.raises(LinkLost):
        future.result(30)
    proxy.shape()
    online.pull()
    assert online.read("a.pt") == noise(HUGE)


def test_a_person_is_warned_when_files_wait_and_the_link_is_down(
    online: Pulling, proxy: ChaosProxy
) -> None:
    online.project.session.pulls.warn_s = 0.3
    proxy.shape(bandwidth=2_000_000)
    online.put("a.pt", noise(HUGE))
    online.until(lambda: 0 < online.info().waiting_bytes < HUGE, "it comes")
    proxy.refuse()
    proxy.reset_all()
    events = online.project.log
    online.until(
        lambda: any(isinstance(one, PullsInDanger) for one in events.events), "warned"
    )
    [warning] = [one for one in events.events if isinstance(one, PullsInDanger)]
    assert "1 file waits on the VM (checkpoints" in warning.message
    assert online.info().state == "offline"
    proxy.refuse(False)
    proxy.shape()
    online.wait("a.pt", noise(HUGE))


PROGRAM = """
import sys
from contextlib import suppress
from pathlib import Path
from colab_devsync.engine.session import Session

session = Session(Path(sys.argv[1]), profile=None, emit=lambda e: None,
                  ask=lambda q: q.safe)
session.connect().result(30)
print("online", flush=True)
sys.stdin.read()
"""


def test_a_daemon_that_is_killed_costs_nothing_twice(
    pulling: Pulling, proxy: ChaosProxy
) -> None:
    data = noise(HUGE)
    pulling.put("a.pt", data)
    proxy.shape(bandwidth=2_000_000)
    root = Path(__file__).parents[2]
    arguments = [sys.executable, "-c", PROGRAM, str(pulling.project.root)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, cwd=root) as daemon:
        pulling.until(lambda: proxy.counts().down > HUGE // 2, "half is here")
        assert daemon.poll() is None
        daemon.kill()
        daemon.communicate()
    assert pulling.read("a.pt") is None
    proxy.reset_all()
    proxy.shape()
    before = proxy.counts().down
    pulling.pull()
    assert pulling.read("a.pt") == data
    assert proxy.counts().down - before < HUGE * 3 // 4
