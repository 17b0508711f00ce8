"""One changed line in a file of 100 MB: bytes on the wire against rsync's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from ..competitors import opened_master, rsync_file
from ..report import Result, median
from ..trees import BIG_FILE_BYTES, big_file, change_one_line
from ..world import World
from . import Effort

CHANGES = 3


def one_line(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    size = round(BIG_FILE_BYTES * effort.scale)
    what = f"one line of {size / 1e6:.0f} MB"
    wire, duration = f"wire traffic, {what}", f"{what} → acknowledged"
    times, bytes_ = _with_rsync(world, rtt_ms, size)
    theirs = median(bytes_)
    yield Result(wire, "rsync -az", rtt_ms, theirs, "bytes")
    yield Result(duration, "rsync -az", rtt_ms, median(times), "ms")
    times, bytes_ = _with_devsync(world, rtt_ms, size)
    yield Result(wire, "colab-devsync", rtt_ms, median(bytes_), "bytes", limit=theirs)
    yield Result(duration, "colab-devsync", rtt_ms, median(times), "ms")


def _with_rsync(
    world: World, rtt_ms: int, size: int
) -> tuple[list[float], list[float]]:
    path = _made(world, "rsync", size)
    world.rtt(0)
    times: list[float] = []
    moved: list[float] = []
    with opened_master(world.target()) as target:
        rsync_file(target, path)
        world.rtt(rtt_ms)
        for number in range(CHANGES):
            change_one_line(path, number)
            before, began = world.traffic().total, time.perf_counter()
            rsync_file(target, path)
            times.append(1000 * (time.perf_counter() - began))
            moved.append(world.traffic().total - before)
        _check(path, target.root / path.name)
    return times, moved


def _with_devsync(
    world: World, rtt_ms: int, size: int
) -> tuple[list[float], list[float]]:
    project = world.project()
    path = project.root / "annotations.jsonl"
    big_file(path, size)
    world.rtt(0)
    times: list[float] = []
    moved: list[float] = []
    with world.online(project) as client:
        world.rtt(rtt_ms)
        for number in range(CHANGES):
            mark, before = client.mark(), world.traffic().total
            change_one_line(path, number)
            told = client.save(path)
            done = client.wait_for(
                "colabDevsync/mirrored",
                lambda params: params["path"] == path.name,
                since=mark,
                timeout_s=120,
            )
            times.append(1000 * (done.at - told))
            moved.append(world.traffic().total - before)
        _check(path, project.remote / path.name)
    return times, moved


def _check(path: Path, copy: Path) -> None:
    if path.read_bytes() != copy.read_bytes():
        raise AssertionError(f"{copy} is not what {path} is")


def _made(world: World, name: str, size: int) -> Path:
    folder = world.project().root
    path = folder / f"{name}.jsonl"
    big_file(path, size)
    return path
