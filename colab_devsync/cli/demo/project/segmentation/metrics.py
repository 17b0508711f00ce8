"""How good a network is."""

from __future__ import annotations

from collections.abc import Sequence

from .data import Pixel
from .model import Network


def accuracy(network: Network, pixels: Sequence[Pixel]) -> float:
    """The share of pixels whose class was found, 0..1."""
    hits = sum(network.predict(pixel.colour) == pixel.label for pixel in pixels)
    return hits / len(pixels)
