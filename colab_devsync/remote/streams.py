"""Opens the bulk streams to the agent's loopback listener.

An SSH server gives a channel 2 MiB per round trip and admits ten sessions, but does
not count forwards: so eight to sixteen direct-tcpip channels. Where forwarding is
refused, programs on the VM stand in for them, six at most.
"""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import DevsyncError, ForwardRefused
from ..link.base import Connection, Flow, Stream
from .client import AgentClient

# Streams by round trip, measured: near by, more only cost switching; far away, each
# brings 2 MiB per round trip.
FORWARDS = ((0.01, 4), (0.12, 8), (float("inf"), 20))
SESSIONS = 6  # of sshd's ten; the agent has one, the rest is for people

# Joins its stdin to a port on the VM, for servers that forbid forwarding.
# Passes on the end of either direction; ends when both have, one breaks, or nobody
# reads any more. stdout may be a pipe or a socket; sshd tells its end when stderr has
# ended as well.
_PUMP = """
import os, select, socket, stat, sys, threading
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
def down():
    try:
        for b in iter(lambda: s.recv(65536), b""):
            while b:
                b = b[os.write(1, b):]
    except OSError:
        os._exit(1)
    if stat.S_ISSOCK(os.fstat(1).st_mode):
        socket.socket(fileno=os.dup(1)).shutdown(socket.SHUT_WR)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
t = threading.Thread(target=down, daemon=True)
t.start()
p = select.poll()
p.register(1, 0)
for b in iter(lambda: os.read(0, 65536), b""):
    s.sendall(b)
s.shutdown(socket.SHUT_WR)
while t.is_alive() and not p.poll(0):
    t.join(1)
"""


@dataclass(frozen=True)
class BulkStreams:
    """Streams ready for frames, and how they travel, for `status`."""

    streams: tuple[Stream, ...]
    label: str


def wanted(rtt_s: float) -> int:
    """How many streams serve a link with this round trip best."""
    return next(count for limit, count in FORWARDS if rtt_s < limit)


@dataclass(frozen=True)
class Door:
    """The agent's listener, and the ways to reach it."""

    connection: Connection
    python: str
    port: int

    def forward(self, token: str) -> Stream:
        """A forwarded stream that has shown its token. ForwardRefused, LinkLost."""
        return _shown(self.connection.connect_tcp("127.0.0.1", self.port), token)

    def pump(self, token: str) -> Stream:
        """The same through a program on the VM."""
        stream = _pump(self.connection, self.python, ("127.0.0.1", self.port))
        return _shown(stream, token)

    def open(self, token: str) -> Stream:
        """A stream, whichever way there is."""
        try:
            return self.forward(token)
        except ForwardRefused:
            return self.pump(token)

    def forward_all(self, tokens: tuple[str, ...]) -> tuple[Stream, ...]:
        """As many forwarded streams as are admitted. ForwardRefused, LinkLost."""
        return _all_at_once(self.forward, tokens)

    def open_all(self, tokens: tuple[str, ...]) -> BulkStreams:
        """A stream per token, all in the same round trip; fewer if the server admits
        no more. LinkLost and other failures, if there is none at all."""
        try:
            streams = self.forward_all(tokens)
            return BulkStreams(streams, f"direct-tcpip x{len(streams)}")
        except ForwardRefused:
            streams = _all_at_once(self.pump, tokens[:SESSIONS])
            return BulkStreams(streams, f"exec x{len(streams)}")


def dial(
    connection: Connection, python: str, host: str, port: int, flow: Flow
) -> Stream:
    """A stream to a port that the VM can reach. Where the server refuses forwards, a
    program on the VM stands in; nothing listening then shows as an early end.
    ConnectFailed, LinkLost."""
    try:
        return connection.connect_tcp(host, port, flow)
    except ForwardRefused:
        return _pump(connection, python, (host, port), flow)


def _pump(
    connection: Connection,
    python: str,
    address: tuple[str, int],
    flow: Flow | None = None,
) -> Stream:
    host, port = address
    program = f"-I -S -c {shlex.quote(_PUMP)} {shlex.quote(host)} {port}"
    return connection.exec(f"exec {python} {program}", flow)


def _shown(stream: Stream, token: str) -> Stream:
    stream.write(bytes.fromhex(token))
    return stream


def _all_at_once(
    open_one: Callable[[str], Stream], tokens: tuple[str, ...]
) -> tuple[Stream, ...]:
    opened: list[Stream] = []
    failures: list[DevsyncError] = []

    def run(token: str) -> None:
        try:
            opened.append(open_one(token))
        except DevsyncError as exc:
            failures.append(exc)

    threads = [
        threading.Thread(target=run, args=(token,), name="devsync-open", daemon=True)
        for token in tokens
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not opened and failures:
        raise failures[0]
    return tuple(opened)


def fresh_tokens(client: AgentClient, count: int) -> tuple[int, tuple[str, ...]]:
    """The listener's port and one-time tokens for `count` more streams."""
    meta = client.request({"op": "tokens", "count": count}).meta()
    return meta["port"], tuple(meta["tokens"])
