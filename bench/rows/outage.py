"""A tunnel that goes silent without closing: how soon noticed, how soon healed."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ..report import Result, median
from ..trees import source_bytes
from ..world import World
from . import Effort


def silent_drop(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    """A save is made as the line freezes; it must arrive once the line is back."""
    project = world.project()
    path = project.root / "train.py"
    path.write_bytes(source_bytes(10_000))
    world.rtt(rtt_ms)
    noticed, healed = [], []
    with world.online(project) as client:
        for number in range(min(effort.repeats, 5)):
            mark = client.mark()
            world.proxy.freeze()
            frozen = time.perf_counter()
            path.write_bytes(source_bytes(10_000 + number, seed=number))
            client.save(path)
            lost = client.wait_for(
                "colabDevsync/status",
                lambda status: status["link"] in ("lost", "connecting"),
                since=mark,
            )
            noticed.append(1000 * (lost.at - frozen))
            mark = client.mark()
            world.proxy.unfreeze()
            back = time.perf_counter()
            online = client.wait_for(
                "colabDevsync/status",
                lambda status: status["link"] == "online",
                since=mark,
            )
            healed.append(1000 * (online.at - back))
            client.wait_for(
                "colabDevsync/mirrored",
                lambda body: body["path"] == path.name,
                since=mark,
            )
            if (project.remote / "train.py").read_bytes() != path.read_bytes():
                raise AssertionError("the save made during the outage was lost")
    row = "silent drop"
    yield Result(row, "noticed", rtt_ms, median(noticed), "ms", limit=3000)
    yield Result(
        row, "healed after the line is back", rtt_ms, median(healed), "ms", 1500
    )
