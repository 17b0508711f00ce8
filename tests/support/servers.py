"""TCP servers as programs of their own, on a free port of 127.0.0.1.

`Server("echo")` starts this file as a program. Each connection has a thread there. The
program ends when its stdin ends, so that a killed test run leaves nothing behind.
"""

from __future__ import annotations

import http.server
import os
import socket
import socketserver
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import ClassVar

PIECE = 256 << 10
_RESET = struct.pack("ii", 1, 0)


class Server:
    """Runs until `close`. `kind`: a name of `KINDS`; `folder`: what http serves."""

    def __init__(self, kind: str, port: int = 0, folder: Path | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, kind, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
        )
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            self.port = int(pipe.readline())

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Idempotent."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


# --- the program ------------------------------------------------------------------


class _Handler(socketserver.BaseRequestHandler):
    request: socket.socket

    def setup(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Echo(_Handler):
    """What comes in goes out; after the end of input, "bye" and the end of output."""

    def handle(self) -> None:
        while data := self.request.recv(PIECE):
            self.request.sendall(data)
        self.request.sendall(b"bye")


class Source(_Handler):
    """Reads a line with a number; sends so many bytes, whatever the client does."""

    def handle(self) -> None:
        left = int(self.request.makefile("rb").readline())
        piece = memoryview(os.urandom(PIECE))
        while left:
            sent = self.request.send(piece[: min(left, PIECE)])
            left -= sent


class Sink(_Handler):
    """Reads to the end of input and answers with the number of bytes."""

    def handle(self) -> None:
        count = 0
        buffer = bytearray(PIECE)
        while size := self.request.recv_into(buffer):
            count += size
        self.request.sendall(b"%d\n" % count)


class Greet(_Handler):
    """Says hello, ends its output, goes on reading, then says how much that was to
    whoever connects next: half-closes in the other order."""

    counts: ClassVar[list[int]] = []

    def handle(self) -> None:
        self.request.sendall(b"hello %s" % str(self.counts).encode())
        self.request.shutdown(socket.SHUT_WR)
        count = 0
        while data := self.request.recv(PIECE):
            count += len(data)
        self.counts.append(count)


class Hang(_Handler):
    """Takes nothing and says nothing until the client ends."""

    def handle(self) -> None:
        self.request.sendall(b"ready")
        threading.Event().wait()


class Reset(_Handler):
    """Reads one piece and resets the connection."""

    def handle(self) -> None:
        self.request.recv(PIECE)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.request.close()

    def finish(self) -> None:
        pass


class Page(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Tcp(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256

    def shutdown_request(self, request: object) -> None:
        # Closes without a shutdown of its own: a reset must stay one.
        self.close_request(request)  # type: ignore[arg-type]

    def handle_error(self, request: object, client_address: object) -> None:
        """The client broke off."""


KINDS = {
    "echo": Echo,
    "source": Source,
    "sink": Sink,
    "greet": Greet,
    "hang": Hang,
    "reset": Reset,
    "http": Page,
}


def main() -> None:
    server = _Tcp(("127.0.0.1", int(sys.argv[2])), KINDS[sys.argv[1]])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
