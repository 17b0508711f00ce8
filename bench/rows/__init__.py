"""The rows of the table. Each module measures one thing at one round-trip time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..report import Result
from ..world import World


@dataclass(frozen=True)
class Effort:
    """How often to repeat, and how large the trees are (1.0 = as in the table)."""

    repeats: int = 15
    scale: float = 1.0
    others: bool = True  # measure the competitors too


Measure = Callable[[World, int, Effort], Iterator[Result]]


@dataclass(frozen=True)
class Row:
    """`at` fixes the round-trip times of a row that does not depend on them."""

    name: str
    measure: Measure
    at: tuple[int, ...] | None = None
