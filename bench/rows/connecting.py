"""From `connect` to a mirror that is known to be up to date, by each way in.

The daemon runs and knows the project; nothing has changed since the last time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.support.proxy import ChaosProxy

from ..lsp_client import LspClient
from ..report import Result, median
from ..trees import source_bytes
from ..ways import colab, relay
from ..world import ONLINE_S, Project, World
from . import Effort

OURS = "colab-devsync"
_REPEATS = 5


def direct(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    project = world.project()
    yield _measured("direct", 8, world, world.proxy, project, rtt_ms)


def over_colab(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    with colab(world) as way:
        project = world.project(way.link)
        yield _measured("colab", 8, world, way.proxy, project, rtt_ms)


def over_relay(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    with relay(world) as way:
        project = world.project(way.link)
        yield _measured("relay", 14, world, way.proxy, project, rtt_ms)


def _measured(
    name: str,
    trips: int,
    world: World,
    proxy: ChaosProxy,
    project: Project,
    rtt_ms: int,
) -> Result:
    for number in range(20):
        path = project.root / f"part{number}.py"
        path.write_bytes(source_bytes(5_000, seed=number))
    with world.client(project) as client:
        client.command("devsync.connect", {"folder": str(project.root)}, ONLINE_S)
        proxy.shape(rtt_ms=0)
        own = median([_once(client, project) for _ in range(_REPEATS)])
        proxy.shape(rtt_ms=rtt_ms)
        times = [_once(client, project) for _ in range(_REPEATS)]
        client.command("devsync.disconnect", {"folder": str(project.root)}, ONLINE_S)
    return Result(
        f"connect by {name} → mirrored",
        OURS,
        rtt_ms,
        median(times),
        "ms",
        limit=trips * rtt_ms + 1.5 * own,
        note=f"{trips} RTT + 1.5 times what it takes without a delay ({own:.0f} ms)",
    )


def _once(client: LspClient, project: Project) -> float:
    """Milliseconds until an editor is told that all is mirrored."""
    folder = {"folder": str(project.root)}
    client.command("devsync.disconnect", folder, ONLINE_S)
    began = time.perf_counter()
    client.command("devsync.connect", folder, ONLINE_S)
    return 1000 * (time.perf_counter() - began)
