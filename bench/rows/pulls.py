"""Files that come home, against scp: speed, resuming, tails; and a save meanwhile."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ..competitors import run
from ..lsp_client import LspClient
from ..processes import memory_mb
from ..report import Result, median
from ..trees import flat_tree, source_bytes
from ..world import Project, World
from . import Effort
from .daemon_costs import daemon_pid

OURS, SCP = "colab-devsync", "scp"
FILE, HUGE, LOG = 1_000_000_000, 4_000_000_000, 500_000_000  # bytes
HOME = 40e6  # bytes/s: a line whose queue is not all memory, which a cut empties
TAIL = 1_000_000
MANY, TINY = 10_000, 300  # files, and bytes of each
MANY_S = 10.0  # on a machine that others use, too
CAPS = (2e6, 10e6)  # bytes/s
WAIT_S = 900
WARM_UP_S = 2.0  # until the flow control has found the link's pace
FASTER = {0: 1.0, 50: 4.0, 200: 8.0}  # times as fast as scp
_BLOCK = 1 << 20


def speed(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    """One file, complete at once: until it is here, hash and fsync included."""
    size = round(FILE * effort.scale)
    row = f"pull of one file of {size // 1_000_000} MB"
    world.rtt(rtt_ms)
    theirs, mine = [], []
    # In turns where that is quick: other work on the machine must not decide.
    for turn in range(3 if rtt_ms < 10 else 2 if rtt_ms < 100 else 1):
        theirs.append(_scp_s(world, size))
        with _pulling(world) as (client, project):
            mine.append(_pull_s(client, project, size, f"{turn}.pt"))
    yield from _compared(row, rtt_ms, size, (min(mine), min(theirs)))


def _compared(
    row: str, rtt_ms: int, size: int, seconds: tuple[float, float]
) -> Iterator[Result]:
    mine, theirs = seconds
    limit = theirs / FASTER.get(rtt_ms, 1.0)
    note = f"{size / mine / 1e6:.0f} MB/s against {size / theirs / 1e6:.0f}"
    yield Result(row, OURS, rtt_ms, mine, "s", limit=limit, note=note)
    yield Result(row, SCP, rtt_ms, theirs, "s")


def huge(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    """More than any key may encrypt at paramiko's defaults; memory stays flat."""
    size = round(HUGE * effort.scale)
    world.rtt(rtt_ms)
    with _pulling(world) as (client, project):
        pids = {"daemon": daemon_pid(world), "agent": _agent_pid(project)}
        before = {who: memory_mb(pid) for who, pid in pids.items()}
        with _watching(pids) as most:
            seconds = _pull_s(client, project, size)
        for who in pids:
            row = f"memory on top, pull of {size / 1e9:.1f} GB"
            grown = most[who] - before[who]
            note = f"{size / seconds / 1e6:.0f} MB/s"
            yield Result(row, who, rtt_ms, grown, "MB", limit=30.0, note=note)


def resumed(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    """Wire bytes beyond the file's own, when the link breaks at 90 %."""
    size = round(FILE * effort.scale)
    world.proxy.shape(rtt_ms=rtt_ms, bandwidth=HOME)
    with _pulling(world) as (client, project):
        before = world.traffic().down
        world.proxy.cut_after("down", size * 9 // 10)
        _pull_s(client, project, size)
        extra = world.traffic().down - before - size
    world.rtt(rtt_ms)
    row = f"extra bytes after a cut at 90 % of {size // 1_000_000} MB"
    yield Result(row, OURS, rtt_ms, extra, "bytes", limit=0.02 * size)


def tail(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    """Wire bytes for 1 MB more in a large log."""
    size = round(LOG * effort.scale)
    world.rtt(0)
    with _pulling(world) as (client, project):
        _pull_s(client, project, size, "train.log")
        world.rtt(rtt_ms)
        log = project.remote / "checkpoints" / "train.log"
        mark, before = client.mark(), world.traffic().total
        with log.open("ab") as stream:
            stream.write(os.urandom(TAIL))
        _wait_pulled(client, log.name, mark)
        moved = world.traffic().total - before
        _check(project, log.name)
    row = f"wire traffic, 1 MB more in a log of {size // 1_000_000} MB"
    yield Result(row, OURS, rtt_ms, moved, "bytes", limit=1.1 * TAIL)


def ready(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    """From a small checkpoint's end of writing to its being here."""
    world.rtt(rtt_ms)
    times = []
    with _pulling(world) as (client, project):
        for number in range(effort.repeats):
            mark, name = client.mark(), f"e{number}.pt"
            began = _finish(project, name, 100_000)
            times.append(1000 * (_wait_pulled(client, name, mark) - began))
    row = "checkpoint of 100 kB complete → here"
    yield Result(row, OURS, rtt_ms, median(times), "ms", limit=2000.0 + 2 * rtt_ms)


def many(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    """Tiny files, complete at once: until all are here, and on disk."""
    count = round(MANY * effort.scale)
    row = f"pull of {count:,} files of {TINY} bytes"
    world.rtt(rtt_ms)
    with _pulling(world) as (client, project):
        staged, folder = project.remote / "staged", project.remote / "checkpoints"
        flat_tree(staged, count, TINY)
        run(["sync", "--file-system", str(staged)])
        began = time.perf_counter()
        staged.rename(folder / "many")
        client.command("devsync.pull", {"folder": str(project.root)}, WAIT_S)
        seconds = time.perf_counter() - began
        limit = max(1.0, MANY_S * effort.scale)
        yield Result(row, OURS, rtt_ms, seconds, "s", limit=limit)
        here = project.root / "checkpoints" / "many"
        run(["diff", "-r", str(folder / "many"), str(here)])
        if effort.others and shutil.which("rsync"):
            shutil.rmtree(here)
            yield Result(row, "rsync -az", rtt_ms, _rsync_s(world, folder, here), "s")


def save_during(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    """Saves while a pull fills the link; p95, and what share of it the pull has."""
    for cap in (*CAPS, 0.0):
        world.proxy.shape(rtt_ms=rtt_ms, bandwidth=cap)
        size = int(cap * 40) if cap else HUGE * 5 // 8
        with _pulling(world) as (client, project):
            _finish(project, "big.pt", size)
            threading.Event().wait(WARM_UP_S + 5 * rtt_ms / 1000)
            times, rate = _saves(world, client, project, max(20, effort.repeats))
            _forget(project, "big.pt")
        shown = f"capped at {cap / 1e6:.0f} MB/s" if cap else "with no cap"
        late = 120.0 if cap else 100.0
        at = sorted(times)[int(len(times) * 0.95) - 1]
        note = f"median {median(times):.0f}, worst {max(times):.0f}"
        row = f"save during a pull, {shown}"
        yield Result(row, "p95", rtt_ms, at, "ms", limit=rtt_ms + late, note=note)
        if cap:
            missing = 100 * (1 - rate / cap)
            yield Result(row, "unused by the pull", rtt_ms, missing, "%", limit=10.0)
        else:
            yield Result(row, "pull", rtt_ms, rate / 1e6, "MB/s")
    world.rtt(rtt_ms)


# --- parts ------------------------------------------------------------------------


@contextmanager
def _pulling(world: World) -> Iterator[tuple[LspClient, Project]]:
    """Online, at rest, with a rule; ended daemon and emptied folders behind it."""
    project = world.project()
    config = project.root / ".colabremote.toml"
    config.write_text(config.read_text() + '[[pull]]\nremote = "checkpoints"\n')
    (project.remote / "checkpoints").mkdir(parents=True)
    with world.online(project) as client:
        asked = {"folder": str(project.root)}
        client.command("devsync.pull", asked, 60)
        yield client, project
    for folder in (project.root, project.remote):
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _finish(project: Project, name: str, size: int) -> float:
    """A file that is complete at one moment; that moment."""
    staged = project.remote / "staged"
    with staged.open("wb") as stream:
        block = os.urandom(_BLOCK)  # nothing compresses over such a distance
        for _ in range(size // _BLOCK):
            stream.write(block)
        stream.write(os.urandom(size % _BLOCK))
        stream.flush()
        os.fsync(stream.fileno())
    began = time.perf_counter()
    staged.rename(project.remote / "checkpoints" / name)
    return began


def _forget(project: Project, name: str) -> None:
    (project.remote / "checkpoints" / name).unlink()


def _pull_s(
    client: LspClient, project: Project, size: int, name: str = "a.pt"
) -> float:
    mark = client.mark()
    began = _finish(project, name, size)
    seconds = _wait_pulled(client, name, mark) - began
    _check(project, name)
    return seconds


def _wait_pulled(client: LspClient, name: str, mark: int) -> float:
    note = client.wait_for(
        "colabDevsync/pulled",
        lambda params: params["path"] == name,
        since=mark,
        timeout_s=WAIT_S,
    )
    return note.at


def _check(project: Project, name: str) -> None:
    here = project.root / "checkpoints" / name
    there = project.remote / "checkpoints" / name
    run(["cmp", str(here), str(there)])


def _scp_s(world: World, size: int) -> float:
    target = world.target()
    project = Project(target.root / "here", target.root)
    (target.root / "checkpoints").mkdir()
    project.root.mkdir()
    _finish(project, "a.pt", size)
    began = time.perf_counter()
    source = target.place("checkpoints/a.pt")
    run([*target.scp(), source, str(project.root / "a.pt")])
    seconds = time.perf_counter() - began
    shutil.rmtree(target.root)
    return seconds


def _rsync_s(world: World, folder: Path, here: Path) -> float:
    """Connecting included; it does not wait for the disk."""
    target = replace(world.target(), root=folder)
    began = time.perf_counter()
    command = ["rsync", "-az", "-e", target.shell(), target.place(here.name)]
    run([*command, str(here.parent)])
    return time.perf_counter() - began


def _saves(
    world: World, client: LspClient, project: Project, count: int
) -> tuple[list[float], float]:
    """Milliseconds of each, and bytes/s that came down meanwhile."""
    times = []
    before, began = world.traffic().down, time.perf_counter()
    for number in range(count):
        path = project.root / "train.py"
        mark = client.mark()
        path.write_bytes(source_bytes(10_000, seed=number))
        told = client.save(path)
        note = client.wait_for(
            "colabDevsync/mirrored",
            lambda params: params["path"] == "train.py",
            since=mark,
        )
        times.append(1000 * (note.at - told))
        threading.Event().wait(0.1)
    rate = (world.traffic().down - before) / (time.perf_counter() - began)
    return times, rate


def _agent_pid(project: Project) -> int:
    """The process that holds the project's folder on the VM."""
    wanted = str(project.remote / ".colab-devsync" / "alive")
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                links = [os.readlink(fd) for fd in (process / "fd").iterdir()]
            except OSError:
                continue
            if wanted in links:
                return int(process.name)
    raise LookupError("no agent has the folder")


@contextmanager
def _watching(pids: dict[str, int]) -> Iterator[dict[str, float]]:
    """The most memory each has had, MB."""
    most = dict.fromkeys(pids, 0.0)
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            for who, pid in pids.items():
                most[who] = max(most[who], memory_mb(pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()
