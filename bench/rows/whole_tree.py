"""The first mirror of 5,350 files, and a sync of them when nothing changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..competitors import opened_master, rsync_tree, scp_tree, tar_zstd_tree
from ..lsp_client import LspClient
from ..report import Result, median
from ..target import Target
from ..trees import FULL_BYTES, FULL_FILES, full_tree
from ..world import Project, Traffic, World
from . import Effort

SCP_SHARE = 0.02  # scp is measured on a fiftieth of the tree, and says so
SYNC_S = 600


def initial(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    """The best of the others is the limit; half of it from 200 ms on."""
    row, tree = f"initial mirror, {_size(effort)}", _cached_tree(world, effort)
    world.rtt(rtt_ms)
    best = float("inf")
    if effort.others:
        for name, copy in (
            ("rsync -az, ControlMaster", rsync_tree),
            ("tar, zstd -1, ssh, ControlMaster", tar_zstd_tree),
        ):
            ms, moved = _copied(world, tree, copy)
            result = Result(row, name, rtt_ms, ms, "ms", note=_megabytes(moved))
            best = min(best, result.value)
            yield result
        if rtt_ms <= 50:
            yield _scp(world, rtt_ms, row)
    limit = None
    if effort.others:
        limit = best / 2 if rtt_ms >= 200 else best
    ms, traffic = _mirrored_live(world, tree)
    yield Result(
        row, "colab-devsync", rtt_ms, ms, "ms", limit=limit, note=_megabytes(traffic)
    )
    ms, _ = _mirrored_cold(world, tree)
    yield Result(row, "colab-devsync, connecting included", rtt_ms, ms, "ms")


def no_change(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    project = world.project()
    full_tree(project.root / "tree", effort.scale)
    world.rtt(0)
    times: list[float] = []
    with world.online(project) as client:
        world.rtt(rtt_ms)
        for _ in range(min(effort.repeats, 7)):
            times.append(_sync(client, project))
    yield Result(
        f"sync of {_size(effort)}, nothing changed",
        "colab-devsync",
        rtt_ms,
        median(times),
        "ms",
        limit=2 * rtt_ms + 150.0,
    )


def _copied(
    world: World, tree: Path, copy: Callable[[Target, Path], None]
) -> tuple[float, Traffic]:
    """Milliseconds and bytes of another tool with an open ControlMaster."""
    with opened_master(world.target()) as target:
        before = world.traffic()
        began = time.perf_counter()
        copy(target, tree)
        ms = 1000 * (time.perf_counter() - began)
        return ms, _since(world, before)


def _scp(world: World, rtt_ms: int, row: str) -> Result:
    share = world.folder / "share"
    if not share.exists():
        full_tree(share, SCP_SHARE)
    ms, _ = _copied(world, share, scp_tree)
    note = "extrapolated from a fiftieth of the tree"
    name = "scp -r, ControlMaster"
    return Result(row, name, rtt_ms, ms / SCP_SHARE, "ms", note=note)


def _mirrored_live(world: World, tree: Path) -> tuple[float, Traffic]:
    """On a link that is up, as the others have their ControlMaster."""
    project = world.project()
    with world.online(project) as client:
        before = world.traffic()
        began = time.perf_counter()
        # One rename: the whole tree is there at once.
        tree.rename(project.root / "tree")
        try:
            _sync(client, project)
            ms = 1000 * (time.perf_counter() - began)
            moved = _since(world, before)
            # Online, the guard against mass deletes would have a question now.
            client.command("devsync.disconnect", {"folder": str(project.root)})
        finally:
            (project.root / "tree").rename(tree)
    return ms, moved


def _mirrored_cold(world: World, tree: Path) -> tuple[float, Traffic]:
    """From an unconnected session: handshake, agent and all."""
    project = world.project()
    tree.rename(project.root / "tree")
    try:
        with world.client(project) as client:
            before = world.traffic()
            ms = _sync(client, project)
            moved = _since(world, before)
            client.command("devsync.disconnect", {"folder": str(project.root)})
    finally:
        (project.root / "tree").rename(tree)
    return ms, moved


def _sync(client: LspClient, project: Project) -> float:
    began = time.perf_counter()
    client.command("devsync.sync", {"folder": str(project.root)}, SYNC_S)
    return 1000 * (time.perf_counter() - began)


def _cached_tree(world: World, effort: Effort) -> Path:
    tree = world.folder / "tree"
    if not tree.exists():
        full_tree(tree, effort.scale)
    return tree


def _size(effort: Effort) -> str:
    files = round(FULL_FILES * effort.scale)
    return f"{files:,} files, {FULL_BYTES * effort.scale / 2**20:.0f} MiB"


def _since(world: World, before: Traffic) -> Traffic:
    now = world.traffic()
    return Traffic(now.up - before.up, now.down - before.down)


def _megabytes(traffic: Traffic) -> str:
    return f"{traffic.total / 1e6:.0f} MB on the wire"
