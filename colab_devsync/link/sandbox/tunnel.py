"""The simulated tunnel as a process of its own, so that its clock is not disturbed by
the server's work. Main thread: the shaper; `devsync-sandbox-parent` waits for the end
of stdin, which ends the process. Writes its port on stdout when it is ready.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys

from .pumps import spawn
from .shaper import Shape, Shaper


def start_tunnel(
    target_port: int, shape: Shape, drop_after: int
) -> tuple[subprocess.Popen[bytes], int]:
    """Starts the process and returns it with its port. It ends with its stdin."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            __name__,
            str(target_port),
            f"--rtt={shape.rtt_s}",
            f"--bandwidth={shape.bandwidth}",
            f"--drop-after={drop_after}",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}.tunnel")
    parser.add_argument("target_port", type=int)
    parser.add_argument("--rtt", type=float, required=True)
    parser.add_argument("--bandwidth", type=float, required=True)
    parser.add_argument("--drop-after", type=int, required=True)
    options = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    shape = Shape(options.rtt, options.bandwidth)
    shaper = Shaper(listener, ("127.0.0.1", options.target_port), shape)
    spawn("parent", _end_with_parent)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    drop_after: int = options.drop_after
    while True:
        shaper.step([], None)
        if drop_after and sum(shaper.bytes.values()) >= drop_after:
            shaper.reset_all()
            drop_after = 0  # once: an endlessly cut link would never get done


def _end_with_parent() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
