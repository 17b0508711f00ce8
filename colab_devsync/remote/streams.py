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
from ..link.base import Connection, Stream
from .client import AgentClient

# Streams by round trip, measured: near by, more only cost switching; far away, each
# brings 2 MiB per round trip.
FORWARDS = ((0.01, 4), (0.12, 8), (float("inf"), 20))
SESSIONS = 6  # of sshd's ten; the agent has one, the rest is for people

# Joins its stdin to a port on the VM, for servers that forbid forwarding.
_PUMP = (
    "import os,socket,sys,threading as t;"
    "s=socket.create_connection((sys.argv[1],int(sys.argv[2])));"
    "d=lambda:[os.write(1,b) for b in iter(lambda:s.recv(65536),b'')];"
    "t.Thread(target=d,daemon=True).start();"
    "[s.sendall(b) for b in iter(lambda:os.read(0,65536),b'')]"
)


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
        stream = _pump(self.connection, self.python, "127.0.0.1", self.port)
        return _shown(stream, token)

    def open(self, token: str) -> Stream:
        """A stream, whichever way there is."""
        try:
            return self.forward(token)
        except ForwardRefused:
            return self.pump(token)

    def open_all(self, tokens: tuple[str, ...]) -> BulkStreams:
        """A stream per token, all in the same round trip; fewer if the server admits
        no more. LinkLost and other failures, if there is none at all."""
        try:
            streams = _all_at_once(self.forward, tokens)
            return BulkStreams(streams, f"direct-tcpip x{len(streams)}")
        except ForwardRefused:
            streams = _all_at_once(self.pump, tokens[:SESSIONS])
            return BulkStreams(streams, f"exec x{len(streams)}")


def dial(connection: Connection, python: str, host: str, port: int) -> Stream:
    """A stream to a port that the VM can reach. Where the server refuses forwards, a
    program on the VM stands in; nothing listening then shows as an early end.
    ConnectFailed, LinkLost."""
    try:
        return connection.connect_tcp(host, port)
    except ForwardRefused:
        return _pump(connection, python, host, port)


def _pump(connection: Connection, python: str, host: str, port: int) -> Stream:
    program = f"-I -S -c {shlex.quote(_PUMP)} {shlex.quote(host)} {port}"
    return connection.exec(f"exec {python} {program}")


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
