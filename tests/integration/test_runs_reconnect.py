"""Runs and links that break: nothing of the output is lost, nothing comes twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from concurrent.futures import wait
from pathlib import Path

import pytest

from colab_devsync.core.runs import RunInfo, RunSpec
from colab_devsync.errors import LinkLost
from tests.support.project import Project
from tests.support.proxy import ChaosProxy
from tests.support.run_output import WAIT_S, RunOutput

CUTS = 20

NUMBERED = """\
import sys, time
for number in range(int(sys.argv[1])):
    print("out", number, "x" * (number % 300))
    print("err", number, file=sys.stderr)
    if number % 50 == 0:
        time.sleep(0.01)
"""


@pytest.fixture
def online(project: Project, proxy: ChaosProxy) -> Project:
    """Mirrored through the proxy."""
    project.configure(port=proxy.port)
    project.write("numbered.py", NUMBERED)
    project.sync()
    return project


def start(project: Project, spec: RunSpec) -> RunInfo:
    return project.session.runs.start(spec).result(WAIT_S)


def lines(stream: str, count: int) -> bytes:
    if stream == "err":
        return b"".join(b"err %d\n" % number for number in range(count))
    return b"".join(
        b"out %d %s\n" % (number, b"x" * (number % 300)) for number in range(count)
    )


def test_twenty_cuts_and_every_line_comes_once(
    online: Project, proxy: ChaosProxy
) -> None:
    count = 20_000
    info = start(online, RunSpec(file="numbered.py", args=(str(count),)))
    output = RunOutput()
    attachment = online.session.runs.attach(info.id, output)
    whole = len(lines("out", count))
    for cut in range(1, CUTS + 1):
        goal = whole * cut // (2 * CUTS)  # the rest is still to come
        output.wait(lambda goal=goal: len(output.streams["stdout"]) >= goal)
        connections = proxy.counts().connections
        if cut % 2:
            proxy.reset_all()
        else:
            proxy.cut_after("down", 40_000 + 7 * cut)  # in the middle of a frame
        online.wait(
            lambda connections=connections: proxy.counts().connections > connections,
            f"cut {cut} was noticed",
        )
    ended = attachment.ended.result(WAIT_S)
    assert output.wrong == []
    assert output.out == lines("out", count)
    assert output.err == lines("err", count)
    assert (ended.exit_code, ended.stdout) == (0, whole)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_start_that_is_cut_anywhere_starts_one_program(
    online: Project, proxy: ChaosProxy, direction: str
) -> None:
    """The connection ends after ever more bytes, until the start gets through."""
    runs = online.session.runs
    go = online.vm / "go"
    os.mkfifo(go)
    started = []
    cuts = 0
    for count in range(0, 1500, 75):
        online.wait_link("online")
        proxy.cut_after(direction, count)  # type: ignore[arg-type]
        before = proxy.counts().connections
        started.append(start(online, RunSpec(argv=["cat", "go"])))
        cuts += proxy.counts().connections > before
    assert cuts >= 5
    found = runs.list().result(WAIT_S)
    assert [one.id for one in found] == [one.id for one in started]
    assert {one.state for one in found} == {"running"}
    for one in found:
        runs.stop(one.id, kill=True).result(WAIT_S)


def test_a_run_goes_on_when_its_agent_is_killed(
    online: Project, proxy: ChaosProxy
) -> None:
    go = online.vm / "go"
    os.mkfifo(go)
    info = start(online, RunSpec(argv=["sh", "-c", "echo one; cat go; exit 5"]))
    output = RunOutput()
    attachment = online.session.runs.attach(info.id, output)
    output.wait_for(b"one\n")
    online.log.clear()
    os.kill(agent_pid(online), signal.SIGKILL)
    online.wait_was("lost")
    go.write_bytes(b"two\n")
    assert attachment.ended.result(WAIT_S).exit_code == 5
    assert (output.out, output.wrong) == (b"one\ntwo\n", [])


def agent_pid(project: Project) -> int:
    wanted = str(project.vm / ".colab-devsync" / "alive")
    if sys.platform != "linux":
        pytest.skip("looks into /proc")
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                links = [os.readlink(fd) for fd in (process / "fd").iterdir()]
            except OSError:
                continue
            if wanted in links:
                return int(process.name)
    raise AssertionError("no agent")


def test_a_vm_that_was_replaced_loses_the_run_but_not_its_last_words(
    online: Project, proxy: ChaosProxy
) -> None:
    info = start(online, RunSpec(argv=["sh", "-c", "echo epoch 7: loss 0.1; sleep 60"]))
    output = RunOutput()
    attachment = online.session.runs.attach(info.id, output)
    output.wait_for(b"loss 0.1\n")
    proxy.refuse()
    proxy.reset_all()
    online.wait_was("lost")
    away = online.vm.with_name("replaced")
    online.vm.rename(away)
    online.vm.mkdir()
    proxy.refuse(False)
    ended = attachment.ended.result(WAIT_S)
    assert ended.state == "lost"
    assert ended.message
    assert "the VM was replaced" in ended.message
    assert "epoch 7: loss 0.1" in ended.message
    online.wait(
        lambda: [one.state for one in online.session.runs.snapshot] == ["lost"],
        "all know",
    )
    online.wait(lambda: not online.session.is_in_use, "nothing is in use")
    # The next one has a number of its own.
    assert start(online, RunSpec(argv=["sh", "-c", "exit"])).id == "sh-2"
    os.killpg(info.pid or 0, signal.SIGKILL)
    shutil.rmtree(away, ignore_errors=True)


def test_a_run_whose_keeper_was_killed_is_lost(online: Project) -> None:
    info = start(online, RunSpec(argv=["sh", "-c", "echo said; sleep 60"]))
    output = RunOutput()
    attachment = online.session.runs.attach(info.id, output)
    output.wait_for(b"said")
    os.kill(keeper_pid(online, info), signal.SIGKILL)
    ended = attachment.ended.result(WAIT_S)
    assert ended.state == "lost"
    assert ended.message
    assert "restarted" in ended.message
    os.killpg(info.pid or 0, signal.SIGKILL)


def keeper_pid(project: Project, info: RunInfo) -> int:
    spec = project.vm / ".colab-devsync" / "runs" / info.id / "spec.json"
    return int(json.loads(spec.read_text())["keeper"])


@pytest.mark.openssh
def test_a_stop_that_is_promised_is_kept(online: Project, proxy: ChaosProxy) -> None:
    """Also if it takes a while to become known that the link is lost, and however often
    it is lost again."""
    info = start(online, RunSpec(argv=["sh", "-c", "echo up; sleep 60"]))
    uplink = online.session._reach.uplink
    assert uplink is not None
    told, uplink.client.on_lost = uplink.client.on_lost, lambda error: None
    uplink.client.close()
    stopping = online.session.runs.stop(info.id)
    assert not wait([stopping], timeout=0.8).done
    proxy.refuse()
    told(uplink.client.lost_error())
    online.wait_link("lost")
    proxy.refuse(False)
    assert stopping.result(WAIT_S).id == info.id
    online.wait(
        lambda: [one.signal for one in online.session.runs.snapshot] == ["SIGINT"],
        "it is stopped",
    )


def test_disconnecting_ends_the_view_and_not_the_run(online: Project) -> None:
    info = start(online, RunSpec(argv=["sh", "-c", "echo up; sleep 60"]))
    output = RunOutput()
    attachment = online.session.runs.attach(info.id, output)
    output.wait_for(b"up")
    online.session.disconnect().result(WAIT_S)
    with pytest.raises(LinkLost):
        attachment.ended.result(WAIT_S)
    assert online.session.status().link == "offline"
    stopped = online.session.runs.stop(info.id, kill=True).result(WAIT_S)
    assert stopped.signal == "SIGKILL"
