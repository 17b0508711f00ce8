"""The part of the table that CI may fail on: round trips, bytes, memory; never MB/s.

A count of round trips is the slope between two round-trip times, so a slow or busy
machine adds the same to both and drops out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .report import Result
from .rows import (
    Effort,
    Measure,
    connecting,
    daemon_costs,
    large_file,
    programs,
    pulls,
    pushes,
    saves,
    whole_tree,
)
from .world import World

NEAR_MS, FAR_MS = 50, 250
EFFORT = Effort(repeats=7, scale=0.1, others=False)


@dataclass(frozen=True)
class Bound:
    """A measure may take at most this many round trips."""

    measure: Measure
    round_trips: float


# A little above the promise: a median of seven still has some noise in it.
BOUNDS = (
    Bound(saves.one_save, 1.15),
    Bound(saves.burst, 1.25),
    Bound(saves.other_tool, 1.15),
    Bound(whole_tree.no_change, 2.15),
    Bound(programs.first_line, 1.25),
    Bound(programs.reattach, 1.25),
    Bound(connecting.direct, 8.0),
    # 8 by count (TCP, TLS, upgrade, 2 for keys, login, 2 for the agent). More programs
    # take part than in the others, which on a busy machine looks like another trip.
    Bound(connecting.over_colab, 9.6),
    Bound(connecting.over_relay, 14.0),
)


def gate(world: World) -> int:
    """1 if anything is over its bound, else 0; prints each."""
    over = 0
    for bound in BOUNDS:
        over += _show(_round_trips(world, bound))
    over += _show(large_file.one_line(world, 0, EFFORT))
    over += _show(pushes.resumed(world, 0, EFFORT))
    over += _show(pulls.resumed(world, 0, EFFORT))
    over += _show(pulls.tail(world, 0, EFFORT))
    over += _show(daemon_costs.memory(world, 0, EFFORT))
    print(f"bench gate: {over} over" if over else "bench gate: all within bounds")
    return 1 if over else 0


def _round_trips(world: World, bound: Bound) -> Iterator[Result]:
    near = list(bound.measure(world, NEAR_MS, EFFORT))
    far = list(bound.measure(world, FAR_MS, EFFORT))
    for one, other in zip(near, far, strict=True):
        if one.unit == "ms":
            slope = (other.value - one.value) / (FAR_MS - NEAR_MS)
            yield Result(
                one.row, one.who, FAR_MS, slope, "round trips", bound.round_trips
            )
        else:
            yield other


def _show(results: Iterator[Result]) -> int:
    over = 0
    for result in results:
        if result.unit == "ms":
            continue
        verdict = _verdict(result)
        print(f"{verdict:5} {result.row}: {result.value:,.2f} {result.unit}", end="")
        print("" if result.limit is None else f", at most {result.limit:,.2f}")
        over += verdict == "OVER"
    return over


def _verdict(result: Result) -> str:
    kinds: dict[bool | None, str] = {True: "ok", False: "OVER", None: ""}
    return kinds[result.ok]
