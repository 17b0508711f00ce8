"""The server process. Main thread: waits for the end of stdin, which ends everything.

Writes one JSON line when it is ready: port, host key, path of the client's key. With
delay, bandwidth or drop a simulated tunnel stands in front of the server.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
from pathlib import Path

from .server import SandboxServer, ensure_key
from .shaper import Shape
from .tunnel import start_tunnel


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m colab_devsync.link.sandbox")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rtt-ms", type=float, default=0)
    parser.add_argument("--bandwidth", type=float, default=0)
    parser.add_argument("--drop-after", type=int, default=0)
    options = parser.parse_args()
    if sys.platform != "win32":
        # A daemon started under nohup or in the background ignores signals, and
        # programs would inherit that; a handler of our own is not inherited.
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, lambda number, frame: None)
    shape = Shape(options.rtt_ms / 1000, options.bandwidth)
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    port: int = listener.getsockname()[1]
    _tunnel = None  # held: it ends when we do
    if shape != Shape() or options.drop_after:
        _tunnel, port = start_tunnel(port, shape, options.drop_after)
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


if __name__ == "__main__":
    main()
