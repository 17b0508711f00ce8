"""Data that goes out, against scp: speed, resuming; and a save meanwhile."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..competitors import run
from ..lsp_client import LspClient
from ..report import Result, median
from ..trees import source_bytes
from ..world import Project, World
from . import Effort

OURS, SCP = "colab-devsync", "scp"
FILE = 1_000_000_000  # bytes
HOME = 40e6  # bytes/s: a line whose queue is not all memory, which a cut empties
CAPS = (2e6, 10e6)  # bytes/s
WAIT_S = 900
FASTER = {50: 4.0, 200: 10.0}  # times as fast as scp
_BLOCK = 1 << 20


def speed(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    """One file: until it has its name there, hash and fsync included."""
    size = round(FILE * effort.scale)
    row = f"push of one file of {size // 1_000_000} MB"
    world.rtt(rtt_ms)
    with _pushing(world, size) as (client, project, local):
        theirs = _scp_s(world, local) if effort.others else None
        mine = _push(client, project, local)["took"]
    wanted = FASTER.get(rtt_ms)
    limit = theirs / wanted if theirs and wanted else None
    note = f"{size / mine / 1e6:.0f} MB/s"
    yield Result(row, OURS, rtt_ms, mine, "s", limit=limit, note=note)
    if theirs:
        note = f"{size / theirs / 1e6:.0f} MB/s"
        yield Result(row, SCP, rtt_ms, theirs, "s", note=note)


def resumed(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    """Wire bytes beyond the file's own: when the link breaks at 90 %, and when all
    is there already."""
    size = round(FILE * effort.scale)
    world.proxy.shape(rtt_ms=rtt_ms, bandwidth=HOME)
    with _pushing(world, size) as (client, project, local):
        before = world.traffic().up
        world.proxy.cut_after("up", size * 9 // 10)
        _push(client, project, local)
        extra = world.traffic().up - before - size
        before = world.traffic().total
        _push(client, project, local)
        again = world.traffic().total - before
    world.rtt(rtt_ms)
    row = f"extra bytes after a cut at 90 % of a push of {size // 1_000_000} MB"
    yield Result(row, OURS, rtt_ms, extra, "bytes", limit=0.02 * size)
    row = "wire traffic, push of what is there"
    yield Result(row, OURS, rtt_ms, again, "bytes", limit=50_000)


def save_during(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    """Saves from a push's first moment on; p95, and what share of the link it has."""
    for cap in (*CAPS, 0.0):
        world.proxy.shape(rtt_ms=rtt_ms, bandwidth=cap)
        size = int(cap * 15 * max(effort.scale, 0.5)) or round(FILE * effort.scale * 2)
        with _pushing(world, size) as (client, project, local):
            times, first, done = _saves(client, project, local)
        shown = f"capped at {cap / 1e6:.0f} MB/s" if cap else "with no cap"
        late = 120.0 if cap else 100.0
        at = sorted(times)[int(len(times) * 0.95) - 1]
        note = f"median {median(times):.0f}, worst {max(times):.0f}"
        row = f"save during a push, {shown}"
        yield Result(row, "p95", rtt_ms, at, "ms", limit=rtt_ms + late, note=note)
        yield Result(row, "worst of the first second", rtt_ms, first, "ms")
        rate = size / done["took"]
        if cap:
            missing = 100 * (1 - rate / cap)
            yield Result(row, "unused by the push", rtt_ms, missing, "%", limit=10.0)
        else:
            yield Result(row, "push", rtt_ms, rate / 1e6, "MB/s")
    world.rtt(rtt_ms)


# --- parts ------------------------------------------------------------------------


@contextmanager
def _pushing(world: World, size: int) -> Iterator[tuple[LspClient, Project, Path]]:
    """Online, at rest, and a file that does not compress; emptied folders behind it."""
    project = world.project()
    local = project.root.parent / f"{project.root.name}.bin"
    with local.open("wb") as stream:
        block = os.urandom(_BLOCK)  # nothing compresses over such a distance
        for _ in range(size // _BLOCK):
            stream.write(block)
        stream.write(os.urandom(size % _BLOCK))
    (project.root / "train.py").write_bytes(source_bytes(10_000))
    try:
        with world.online(project) as client:
            yield client, project, local
    finally:
        local.unlink()
        shutil.rmtree(project.remote, ignore_errors=True)


def _push(client: LspClient, project: Project, local: Path) -> dict[str, Any]:
    """The result, with `took`, in seconds."""
    order = {"folder": str(project.root), "local": str(local), "remote": "data/a.bin"}
    began = time.perf_counter()
    done: dict[str, Any] = client.command("devsync.push", order, WAIT_S)
    done["took"] = time.perf_counter() - began
    run(["cmp", str(local), str(project.remote / "data" / "a.bin")])
    return done


def _scp_s(world: World, local: Path) -> float:
    target = world.target()
    began = time.perf_counter()
    run([*target.scp(), str(local), target.place("a.bin")])
    seconds = time.perf_counter() - began
    shutil.rmtree(target.root)
    return seconds


def _saves(
    client: LspClient, project: Project, local: Path
) -> tuple[list[float], float, dict[str, Any]]:
    """Milliseconds of each, the worst of the first second, and the push's result."""
    done: dict[str, Any] = {}
    thread = threading.Thread(target=lambda: done.update(_push(client, project, local)))
    times: list[float] = []
    first = 0.0
    began = time.perf_counter()
    thread.start()
    while thread.is_alive() or not times:
        path = project.root / "train.py"
        mark = client.mark()
        path.write_bytes(source_bytes(10_000, seed=len(times)))
        told = client.save(path)
        note = client.wait_for(
            "colabDevsync/mirrored",
            lambda params: params["path"] == "train.py",
            since=mark,
            timeout_s=60,
        )
        times.append(1000 * (note.at - told))
        if told - began < 1:
            first = max(first, times[-1])
        threading.Event().wait(0.1)
    thread.join()
    return times, first, done
