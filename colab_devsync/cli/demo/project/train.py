"""Trains a small network that tells sky, road and tree pixels apart.

Plain Python: it runs on any VM and needs no GPU. `python train.py --epochs 8`
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from segmentation.data import load
from segmentation.metrics import accuracy
from segmentation.model import Network

LEARNING_RATE = 0.02
HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--state-mb", type=float, default=0, help="per checkpoint")
    options = parser.parse_args()
    train, test = load(HERE / "data" / "pixels.csv")
    print(f"{len(train)} pixels, learning rate {LEARNING_RATE}, in {HERE}", flush=True)
    network = Network(inputs=3, hidden=6, classes=3, seed=7)
    began = time.perf_counter()
    for epoch in range(1, options.epochs + 1):
        loss = network.train(train, LEARNING_RATE)
        score = accuracy(network, test)
        print(f"epoch {epoch}  loss {loss:.3f}  accuracy {score:.0%}", flush=True)
        # An optimizer of a real network remembers more than the network itself.
        state = os.urandom(int(options.state_mb * 1e6))
        network.save(HERE / "checkpoints" / f"epoch-{epoch:03}.ckpt", state)
    print(f"trained in {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
