"""A userspace tunnel: TCP in, TCP out, with delay, bandwidth and accidents.

One thread, one `select` loop, no locks; `step` never blocks longer than told. It
models latency, one shared bottleneck per direction and a bounded queue; it does not
model loss or congestion control. Connecting costs one round trip, as TCP does.
"""

from __future__ import annotations

import math
import select
import socket
import struct
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

Direction = Literal["up", "down"]  # up = towards the server

_CHUNK = 256 * 1024
_MAX_QUEUE = 128 * 1024 * 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with time-out 0: close sends RST


@dataclass(frozen=True)
class Shape:
    """What the tunnel does to bytes. Zero = no limit."""

    rtt_s: float = 0.0
    bandwidth: float = 0.0  # bytes/s, each direction, shared by all connections
    queue_s: float = 1.0  # how long the bottleneck's queue may get, in seconds

    @property
    def delay_s(self) -> float:
        return self.rtt_s / 2

    @property
    def chunk(self) -> int:
        """Bytes read at once: at most 5 ms of a narrow link, so that it is smooth."""
        if not self.bandwidth:
            return _CHUNK
        return max(1024, min(_CHUNK, int(self.bandwidth * 0.005)))

    @property
    def queue(self) -> int:
        """Bytes that may be under way in one direction of one connection."""
        if not self.bandwidth:
            return _MAX_QUEUE
        return max(64 * 1024, int(self.bandwidth * (self.queue_s + self.delay_s)))


@dataclass(eq=False)
class Flow:
    """One direction of one connection."""

    direction: Direction
    source: socket.socket | None  # None until the far side is connected
    sink: socket.socket | None
    opened_at: float  # nothing travels before: the TCP handshake
    queue: deque[tuple[float, memoryview]] = field(default_factory=deque)
    queued: int = 0
    delivered: int = 0
    cut_at: int | None = None  # accident after exactly so many delivered bytes
    eof: bool = False  # the source said all
    finished: bool = False  # ... and the sink was told
    congested: bool = False  # the sink's buffer is full


@dataclass(eq=False)
class Tunnel:
    """One accepted connection: two flows and the time to dial the server."""

    up: Flow
    down: Flow
    client: socket.socket
    server: socket.socket | None
    dial_at: float

    @property
    def flows(self) -> tuple[Flow, Flow]:
        return self.up, self.down


class Shaper:
    """Forwards each connection of `listener` to `target`."""

    def __init__(
        self, listener: socket.socket, target: tuple[str, int], shape: Shape
    ) -> None:
        listener.setblocking(False)
        self.listener = listener
        self.target = target
        self.shape = shape
        self.frozen: set[Direction] = set()
        self.refusing = False
        self.tunnels: list[Tunnel] = []
        self.accepted = 0
        self.bytes: dict[Direction, int] = {"up": 0, "down": 0}
        self.arm_next: tuple[Direction, int] | None = None  # for the next connection
        self._line_free: dict[Direction, float] = {"up": 0.0, "down": 0.0}

    # --- accidents ----------------------------------------------------------------

    def reset_all(self) -> None:
        """RST on every connection, both sides; what is under way is lost."""
        for tunnel in list(self.tunnels):
            self._drop(tunnel)

    def cut_after(self, direction: Direction, count: int) -> None:
        """Cut every open connection, and the next one that opens if there is none,
        after exactly `count` more delivered bytes."""
        if not self.tunnels:
            self.arm_next = (direction, count)
        for tunnel in self.tunnels:
            flow = tunnel.up if direction == "up" else tunnel.down
            flow.cut_at = flow.delivered + count
            self._pump(tunnel, flow)

    # --- the loop -----------------------------------------------------------------

    def step(
        self, also: list[socket.socket], limit_s: float | None
    ) -> list[socket.socket]:
        """Waits until something is due, moves it; returns the readable of `also`."""
        readers, writers = self._interest()
        ready, _, _ = select.select(
            [*also, *readers], writers, [], self._wait_s(limit_s)
        )
        ready_set: set[socket.socket | None] = set(ready)
        if self.listener in ready_set:
            self._accept()
        for tunnel in list(self.tunnels):
            self._serve(tunnel, ready_set)
        return [sock for sock in also if sock in ready_set]

    def _interest(self) -> tuple[list[socket.socket], list[socket.socket]]:
        readers: list[socket.socket] = []
        writers: list[socket.socket] = []
        if not self.frozen:
            readers.append(self.listener)
        limit = self.shape.queue
        for tunnel in self.tunnels:
            for flow in tunnel.flows:
                if flow.direction in self.frozen or flow.finished:
                    continue
                if flow.source is not None and not flow.eof and flow.queued < limit:
                    readers.append(flow.source)
                if flow.congested and flow.sink is not None:
                    writers.append(flow.sink)
        return readers, writers

    def _wait_s(self, limit_s: float | None) -> float | None:
        due = math.inf if limit_s is None else time.monotonic() + limit_s
        for tunnel in self.tunnels:
            if tunnel.server is None and not self.frozen:
                due = min(due, tunnel.dial_at)
            for flow in tunnel.flows:
                waiting = flow.queue and flow.sink and not flow.congested
                if waiting and flow.direction not in self.frozen:
                    due = min(due, flow.queue[0][0])
        return None if due == math.inf else max(0.0, due - time.monotonic())

    def _serve(self, tunnel: Tunnel, ready: set[socket.socket | None]) -> None:
        try:
            if tunnel.server is None and not self.frozen:
                self._dial(tunnel)
            for flow in tunnel.flows:
                if flow.direction in self.frozen:
                    continue
                if flow.source is not None and flow.source in ready and not flow.eof:
                    self._take(flow, flow.source)
                if not self._pump(tunnel, flow):
                    return
        except OSError:  # either side is gone: so is the connection
            self._drop(tunnel)
            return
        if tunnel.up.finished and tunnel.down.finished:
            self._forget(tunnel)
            tunnel.client.close()
            if tunnel.server is not None:
                tunnel.server.close()

    def _accept(self) -> None:
        try:
            client, _ = self.listener.accept()
        except OSError:
            return  # it hung up before we looked
        if self.refusing:
            _reset(client)
            return
        now = time.monotonic()
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.accepted += 1
        opened = now + self.shape.rtt_s
        up = Flow("up", client, None, opened)
        down = Flow("down", None, client, 0.0)
        if self.arm_next is not None:
            direction, count = self.arm_next
            (up if direction == "up" else down).cut_at = count
            self.arm_next = None
        dial_at = opened + self.shape.delay_s
        self.tunnels.append(Tunnel(up, down, client, None, dial_at))

    def _dial(self, tunnel: Tunnel) -> None:
        if time.monotonic() < tunnel.dial_at:
            return
        server = socket.create_connection(self.target, timeout=5)
        server.setblocking(False)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tunnel.server = tunnel.up.sink = tunnel.down.source = server

    def _take(self, flow: Flow, source: socket.socket) -> None:
        """One read; what was read is due after the bottleneck and the delay."""
        try:
            data = source.recv(self.shape.chunk)
        except BlockingIOError:
            return
        due = max(time.monotonic(), flow.opened_at)
        if self.shape.bandwidth:
            due = max(due, self._line_free[flow.direction])
            due += len(data) / self.shape.bandwidth
            self._line_free[flow.direction] = due
        flow.eof = not data
        flow.queue.append((due + self.shape.delay_s, memoryview(data)))
        flow.queued += len(data)

    def _pump(self, tunnel: Tunnel, flow: Flow) -> bool:
        """Delivers what is due. False: the connection was cut."""
        flow.congested = False
        while flow.queue and flow.sink is not None:
            if flow.delivered == flow.cut_at:
                self._cut(tunnel, flow)
                return False
            due, data = flow.queue[0]
            if due > time.monotonic():
                return True
            if not data:
                flow.queue.popleft()
                flow.sink.shutdown(socket.SHUT_WR)
                flow.finished = True
                return True
            if flow.cut_at is not None:
                data = data[: flow.cut_at - flow.delivered]
            try:
                sent = flow.sink.send(data)
            except BlockingIOError:
                flow.congested = True
                return True
            self._count(flow, sent)
        if flow.delivered == flow.cut_at:
            self._cut(tunnel, flow)
            return False
        return True

    def _count(self, flow: Flow, sent: int) -> None:
        flow.delivered += sent
        flow.queued -= sent
        self.bytes[flow.direction] += sent
        due, data = flow.queue[0]
        if sent == len(data):
            flow.queue.popleft()
        else:
            flow.queue[0] = (due, data[sent:])

    # --- the end of a connection --------------------------------------------------

    def _cut(self, tunnel: Tunnel, flow: Flow) -> None:
        """The receiver gets its bytes and then the end, the sender a reset."""
        self._forget(tunnel)
        if flow.sink is not None:
            flow.sink.setblocking(True)
            flow.sink.shutdown(socket.SHUT_WR)
            flow.sink.close()
        if flow.source is not None:
            _reset(flow.source)

    def _drop(self, tunnel: Tunnel) -> None:
        self._forget(tunnel)
        _reset(tunnel.client)
        if tunnel.server is not None:
            _reset(tunnel.server)

    def _forget(self, tunnel: Tunnel) -> None:
        self.tunnels.remove(tunnel)


def _reset(sock: socket.socket) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    finally:
        sock.close()
