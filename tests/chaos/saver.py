"""Saves and saves until it is killed: the session of a crash test, in its own process.

Prints a line when it is online and mirrored. Arguments: root, seed.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from colab_devsync.engine.session import Session


def main() -> None:
    root, draw = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
    session = Session(
        root,
        profile=None,
        emit=lambda event: None,
        ask=lambda question: question.safe,
    )
    session.sync().result(30)
    print("ready", flush=True)
    while True:
        path = root / f"m{draw.randrange(8)}.py"
        size = draw.choice((100, 1000, 50_000, 400_000, 3_000_000))
        path.write_bytes(b"# %d\n" % draw.randrange(10**9) + draw.randbytes(size))
        session.saved(path)


if __name__ == "__main__":
    main()
