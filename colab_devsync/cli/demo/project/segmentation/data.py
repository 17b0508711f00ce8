"""Reads labelled pixels: red, green, blue in 0..255 and a class name."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

CLASSES = ("sky", "road", "tree")


class Pixel(NamedTuple):
    """`colour` is scaled to -1..1; `label` is an index into CLASSES."""

    colour: tuple[float, ...]
    label: int


def load(path: Path) -> tuple[list[Pixel], list[Pixel]]:
    """A training set, and every fifth row as the test set."""
    with path.open(newline="", encoding="utf-8") as source:
        pixels = [to_pixel(row) for row in csv.DictReader(source)]
    train = [pixel for number, pixel in enumerate(pixels) if number % 5]
    return train, pixels[::5]


def to_pixel(row: dict[str, str]) -> Pixel:
    colour = tuple(int(row[name]) / 127.5 - 1 for name in ("red", "green", "blue"))
    return Pixel(colour, CLASSES.index(row["label"]))
