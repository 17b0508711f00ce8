"""A network with one hidden layer, trained by stochastic gradient descent."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable
from operator import mul
from pathlib import Path

from .data import Pixel


class Network:
    def __init__(self, *, inputs: int, hidden: int, classes: int, seed: int) -> None:
        rng = random.Random(seed)
        # The last column is the bias.
        self.first = _random_matrix(rng, hidden, inputs + 1)
        self.second = _random_matrix(rng, classes, hidden + 1)

    def forward(self, colour: tuple[float, ...]) -> tuple[list[float], list[float]]:
        """The hidden layer and the probability of each class."""
        hidden = [math.tanh(_dot(row, colour)) for row in self.first]
        scores = [math.exp(_dot(row, hidden)) for row in self.second]
        total = sum(scores)
        return hidden, [score / total for score in scores]

    def train(self, pixels: Iterable[Pixel], rate: float) -> float:
        """One pass over the pixels; the mean loss."""
        losses = [self._step(pixel, rate) for pixel in pixels]
        return sum(losses) / len(losses)

    def predict(self, colour: tuple[float, ...]) -> int:
        probabilities = self.forward(colour)[1]
        return probabilities.index(max(probabilities))

    def save(self, path: Path, state: bytes = b"") -> None:
        path.parent.mkdir(exist_ok=True)
        body = json.dumps({"first": self.first, "second": self.second})
        path.write_bytes(body.encode() + b"\n" + state)

    def _step(self, pixel: Pixel, rate: float) -> float:
        hidden, probabilities = self.forward(pixel.colour)
        errors = list(probabilities)
        errors[pixel.label] -= 1
        back = [
            (1 - value**2) * sum(map(mul, errors, [row[i] for row in self.second]))
            for i, value in enumerate(hidden)
        ]
        _descend(self.second, errors, hidden, rate)
        _descend(self.first, back, pixel.colour, rate)
        return -math.log(max(probabilities[pixel.label], 1e-12))


def _random_matrix(rng: random.Random, rows: int, columns: int) -> list[list[float]]:
    return [[rng.uniform(-0.5, 0.5) for _ in range(columns)] for _ in range(rows)]


def _dot(row: list[float], values: Iterable[float]) -> float:
    # map() ends with the shorter one, so the bias is left for the second term.
    return sum(map(mul, row, values)) + row[-1]


def _descend(
    matrix: list[list[float]], errors: list[float], values: Iterable[float], rate: float
) -> None:
    inputs = [*values, 1.0]
    for row, error in enumerate(errors):
        for column, value in enumerate(inputs):
            matrix[row][column] -= rate * error * value
