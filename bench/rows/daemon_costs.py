"""What the daemon itself costs: CPU per save, memory, CPU when idle, start-up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from ..lsp_client import LspClient
from ..processes import cpu_s, memory_mb
from ..report import Result, median
from ..trees import flat_tree, source_bytes
from ..world import PRODUCT, Project, World
from . import Effort

SAVES = 200
IDLE_S = 20
SMALL, LARGE = 1_000, 100_000
# Other work on the machine and the 10 ms clock: what still counts as "the same".
NOISE_FACTOR, NOISE_MS = 1.25, 0.5


def per_save(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    """Daemon CPU and wire bytes for a save must not depend on the tree's size."""
    del rtt_ms
    world.rtt(0)
    row, wire = "daemon CPU per save", "wire traffic per save"
    small_cpu, small_bytes = _saves(world, SMALL)
    large = max(SMALL * 10, round(LARGE * effort.scale))
    large_cpu, large_bytes = _saves(world, large)
    yield Result(row, f"tree of {SMALL:,}", 0, small_cpu, "ms")
    limit = small_cpu * NOISE_FACTOR + NOISE_MS
    yield Result(row, f"tree of {large:,}", 0, large_cpu, "ms", limit=limit)
    yield Result(wire, f"tree of {SMALL:,}", 0, small_bytes, "bytes")
    limit = small_bytes * NOISE_FACTOR
    yield Result(wire, f"tree of {large:,}", 0, large_bytes, "bytes", limit=limit)


def idle(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    del rtt_ms
    world.rtt(0)
    project = world.project()
    flat_tree(project.root, 10_000)
    with world.online(project):
        pid = daemon_pid(world)
        # What the initial mirror left to be done (database, buffers) is not idling.
        time.sleep(2)
        cpu, began = cpu_s(pid), time.perf_counter()
        time.sleep(IDLE_S * max(effort.scale, 0.5))
        share = 100 * (cpu_s(pid) - cpu) / (time.perf_counter() - began)
    who = "daemon, 10,000 files"
    yield Result("CPU when idle", who, 0, share, "% of a core", limit=1.5)


def memory(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    del rtt_ms, effort
    world.rtt(0)
    project = world.project()
    flat_tree(project.root, 10_000)
    # A daemon of its own: what it did before must not weigh on it.
    world.stop_daemon()
    with world.online(project):
        used = memory_mb(daemon_pid(world))
    yield Result("memory", "daemon, 10,000 files", 0, used, "MB", limit=100)


def start_up(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    del rtt_ms
    project = world.project()
    cold, warm = [], []
    for _ in range(min(effort.repeats, 7)):
        world.stop_daemon()
        cold.append(_initialize_ms(world, project))
        warm.append(_initialize_ms(world, project))
    row = "`colab-devsync lsp` → initialize answered"
    yield Result(row, "daemon running", 0, median(warm), "ms", limit=300)
    yield Result(row, "daemon not running", 0, median(cold), "ms", limit=1500)


def daemon_pid(world: World) -> int:
    return int(world.cli("daemon", "status")["pid"])


def _saves(world: World, files: int) -> tuple[float, float]:
    """CPU ms and wire bytes per save, in a tree of so many files."""
    project = world.project()
    flat_tree(project.root, files)
    path = project.root / "package_000" / "module_000000.py"
    # A daemon of its own each: what one tree left behind must not weigh on the next.
    world.stop_daemon()
    with world.online(project) as client:
        pid = daemon_pid(world)
        _save(client, path, 0)
        cpu, before = cpu_s(pid), world.traffic().total
        for number in range(1, SAVES + 1):
            _save(client, path, number)
        spent = cpu_s(pid) - cpu
        moved = world.traffic().total - before
    world.stop_daemon()
    return 1000 * spent / SAVES, moved / SAVES


def _save(client: LspClient, path: Path, number: int) -> None:
    mark = client.mark()
    path.write_bytes(source_bytes(1_000, seed=number))
    client.save(path)
    client.wait_for(
        "colabDevsync/mirrored",
        lambda params: params["path"].endswith(path.name),
        since=mark,
    )


def _initialize_ms(world: World, project: Project) -> float:
    log = world.folder / "lsp.log"
    began = time.perf_counter()
    with LspClient(
        [*PRODUCT, "lsp"], cwd=project.root, env=world.env, log=log
    ) as client:
        client.initialize(project.root)
        return 1000 * (time.perf_counter() - began)
