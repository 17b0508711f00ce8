"""Which of the files that the VM refused are tried again."""

from __future__ import annotations

from colab_devsync.core.events import Problem
from colab_devsync.engine.mirroring.refusals import Refused, cheapest


def refused(reason: str, size: int) -> Refused:
    return Refused(Problem("", reason), reason, size, {})


def test_the_smallest_stands_for_those_that_were_refused_alike() -> None:
    held = {
        "d/large": refused("full", 900),
        "d/small": refused("full", 1),
        "d/closed": refused("denied", 5),
        "e/a": refused("full", 2),
        "f": refused("full", 3),
    }
    assert sorted(cheapest(held)) == ["d/closed", "d/small", "e/a", "f"]


def test_many_folders_take_turns() -> None:
    held = {f"{number}/a": refused("denied", 1) for number in range(20)}
    tried: set[str] = set()
    for _ in range(3):
        for path in cheapest(held):
            held[path] = held.pop(path)
            tried.add(path)
    assert tried == held.keys()
    assert len(cheapest(held)) < 10
