"""One save, twenty at once, and a change by a tool that tells nobody."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from ..competitors import SAVERS, Saver
from ..lsp_client import LspClient
from ..report import Result, median
from ..trees import source_bytes
from ..world import World
from . import Effort

SAVE_BYTES = 10_000
BURST_FILES = 20


def one_save(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    row = "save of 10 KB → acknowledged"
    project = world.project()
    path = project.root / "train.py"
    path.write_bytes(source_bytes(SAVE_BYTES))
    world.rtt(rtt_ms)
    times: list[float] = []
    with world.online(project) as client:
        before = world.traffic()
        for number in range(effort.repeats):
            mark = client.mark()
            path.write_bytes(_content(number))
            told = client.save(path)
            times.append(1000 * (_mirrored(client, path, mark) - told))
        moved = world.traffic().total - before.total
    yield Result(row, "colab-devsync", rtt_ms, median(times), "ms", limit=rtt_ms + 10.0)
    yield Result(
        "wire traffic per save of 10 KB",
        "colab-devsync",
        rtt_ms,
        moved / effort.repeats,
        "bytes",
        # Source text compresses well below this; pings and SSH's framing are in it.
        limit=SAVE_BYTES,
    )
    if effort.others:
        for saver in SAVERS:
            yield from _other(world, rtt_ms, effort, saver=saver)


def burst(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    project = world.project()
    paths = [project.root / f"module_{n:02d}.py" for n in range(BURST_FILES)]
    for path in paths:
        path.write_bytes(source_bytes(SAVE_BYTES))
    world.rtt(rtt_ms)
    times: list[float] = []
    with world.online(project) as client:
        for number in range(effort.repeats):
            mark = client.mark()
            for path in paths:
                path.write_bytes(_content(number))
            told = min([client.save(path) for path in paths])
            last = max(_mirrored(client, path, mark) for path in paths)
            times.append(1000 * (last - told))
    yield Result(
        "20 files saved at once → all acknowledged",
        "colab-devsync",
        rtt_ms,
        median(times),
        "ms",
        limit=rtt_ms + 25.0,
    )


def other_tool(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    project = world.project()
    path = project.root / "generated.py"
    path.write_bytes(source_bytes(SAVE_BYTES))
    world.rtt(rtt_ms)
    times: list[float] = []
    with world.online(project) as client:
        for number in range(effort.repeats):
            mark = client.mark()
            path.write_bytes(_content(number))
            written = time.perf_counter()
            times.append(1000 * (_mirrored(client, path, mark) - written))
    yield Result(
        "change by another tool → acknowledged",
        "colab-devsync",
        rtt_ms,
        median(times),
        "ms",
        limit=rtt_ms + 25.0,
    )


def _other(
    world: World, rtt_ms: int, effort: Effort, *, saver: Saver
) -> Iterator[Result]:
    if saver.missing():
        return
    project, target = world.project(), world.target()
    path = project.root / "train.py"
    path.write_bytes(source_bytes(SAVE_BYTES))
    times = []
    with saver.open(target, project.root) as save:
        save(path)
        for number in range(min(effort.repeats, 5)):
            path.write_bytes(_content(number))
            began = time.perf_counter()
            save(path)
            times.append(1000 * (time.perf_counter() - began))
    row = "save of 10 KB → acknowledged"
    yield Result(row, saver.name, rtt_ms, median(times), "ms", note=saver.note)


def _content(number: int) -> bytes:
    # Another size each time: rsync and its kin overlook a change within the same
    # second that keeps the size.
    return source_bytes(SAVE_BYTES + number + 1, seed=number)


def _mirrored(client: LspClient, path: Path, mark: int) -> float:
    note = client.wait_for(
        "colabDevsync/mirrored",
        lambda params: params["path"] == path.name,
        since=mark,
        timeout_s=30,
    )
    return note.at
