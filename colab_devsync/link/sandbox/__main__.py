"""The server process. Main thread: waits for the end of stdin, which ends everything.

Writes one JSON line when it is ready: port, host key, path of the client's key. With
a shape (delay, bandwidth, drop) a forked child stands in front of the server, so that
its clock is not disturbed by this process's work.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from pathlib import Path

from .server import SandboxServer, ensure_key
from .shaper import Shape, Shaper


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m colab_devsync.link.sandbox")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rtt-ms", type=float, default=0)
    parser.add_argument("--bandwidth", type=float, default=0)
    parser.add_argument("--drop-after", type=int, default=0)
    options = parser.parse_args()
    shape = Shape(options.rtt_ms / 1000, options.bandwidth)
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    port: int = listener.getsockname()[1]
    if shape != Shape() or options.drop_after:
        port = _fork_shaper(port, shape, options.drop_after)
    host_key = ensure_key(options.folder / "host_key")
    client_key = options.folder / "client_key"
    server = SandboxServer(
        listener, options.folder / "vm", host_key, ensure_key(client_key)
    )
    server.start()
    ready = {
        "port": port,
        "kind": host_key.get_name(),
        "fingerprint": host_key.fingerprint,
        "client_key": str(client_key),
    }
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    while sys.stdin.buffer.read(4096):
        pass
    server.stop()
    os._exit(0)  # paramiko's threads would be waited for otherwise


def _fork_shaper(target: int, shape: Shape, drop_after: int) -> int:
    """Returns the port that the child listens on."""
    if sys.platform == "win32":
        raise OSError("the sandbox needs Linux or macOS")
    front = socket.create_server(("127.0.0.1", 0), backlog=64)
    ours, childs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        os.close(0)
        os.close(1)  # whoever waits for our line must not wait for the child
        _shape(Shaper(front, ("127.0.0.1", target), shape), childs, drop_after)
        os._exit(0)
    childs.close()
    ours.set_inheritable(False)
    _PARENT_ENDS.append(ours)
    port: int = front.getsockname()[1]
    front.close()
    return port


_PARENT_ENDS: list[socket.socket] = []  # open as long as this process lives


def _shape(shaper: Shaper, parent: socket.socket, drop_after: int) -> None:
    while not shaper.step([parent], None):
        if drop_after and sum(shaper.bytes.values()) >= drop_after:
            shaper.reset_all()
            drop_after = 0  # once: an endlessly cut link would never get done


main()
