"""One live way to the VM: connection, agent, liveness and bulk streams together.

Opened by the connector's thread, used by the engine thread, closed by whoever first
notices that it is dead. A new connection is a new Uplink.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..core.events import Ask, VmInfo
from ..errors import DevsyncError, ForwardRefused
from ..link.base import Connection, Link, Stream
from ..remote import streams
from ..remote.bootstrap import Hello, shell_name, start_agent
from ..remote.client import AgentClient, Reply
from ..remote.liveness import BULK_S, BUSY_S, IDLE_S, Liveness
from .traffic.bulk import Bulk
from .traffic.flows import Flows
from .traffic.intake import Intake
from .traffic.spare import Spare

_CONNECT_TRIPS = 4.5  # TCP, key exchange, authentication; measured
_TOKENS = 32  # one-time tokens asked for at the start: bulk streams and a few programs


@dataclass(frozen=True)
class Target:
    """What to connect to, and who we are there."""

    link: Link
    python: str
    root: str  # absolute, on the VM
    client_id: str  # of the project on this machine
    session_id: str  # of the process that connects, and connects again
    shown: str  # who we are, for another client that finds the root taken


class Uplink:
    """Use `open_uplink`. `close` may be called from any thread, any number of times."""

    def __init__(
        self,
        connection: Connection,
        client: AgentClient,
        hello: Hello,
        target: Target,
        rtt_s: float,
    ) -> None:
        self.connection = connection
        self.client = client
        self.hello = hello
        self._python = shell_name(target.python)
        self._first_rtt_s = rtt_s
        self.vm: VmInfo = hello.vm
        self.bulk = Bulk(client, self._open_bulk)
        self.flows = Flows()
        self.incoming = Intake()  # bytes of files that come home
        self._spare = Spare(lambda: self._door().forward(self._take_token()))
        self._tokens = list(hello.bulk_tokens)
        self._port = hello.bulk_port
        self._token_lock = threading.Lock()
        self.liveness: Liveness | None = None

    def watch(
        self,
        *,
        is_busy: Callable[[], bool],
        on_rtt: Callable[[float], None],
        on_lost: Callable[[DevsyncError], None],
    ) -> None:
        """From now on the link is pinged, and its end is told."""
        windows = (self.bulk.window, self.incoming)

        def pace_s() -> float:
            if any(window.is_used for window in windows) or self.flows.is_used:
                return BULK_S
            return BUSY_S if is_busy() else IDLE_S

        def lost(error: DevsyncError) -> None:
            self.close()
            on_lost(error)

        self.client.on_lost = lost
        flows = self.flows

        def look(delay_s: float, lowest_s: float) -> None:
            for one in (*windows, flows):
                one.look(delay_s, lowest_s)

        def patience_s() -> float:
            return max(flows.patience_s(), *(one.patience_s() for one in windows))

        self.liveness = Liveness(
            self.client,
            pace_s=pace_s,
            patience_s=patience_s,
            on_rtt=on_rtt,
            on_delay=look,
        )
        flows.tell_busy(self.liveness.hurry)
        self.liveness.start()
        self._spare.prepare()
        if self.client.is_lost:
            self.client.on_lost(self.client.lost_error())

    @property
    def streams_wanted(self) -> int:
        """How many streams at once serve this link best."""
        return streams.wanted(self._first_rtt_s)

    def _open_bulk(self) -> tuple[Stream, ...]:
        count = self.streams_wanted
        tokens = tuple(self._take_token() for _ in range(count))
        opened = self._door().open_all(tokens)
        self.vm = replace(self.vm, transfer=opened.label)
        return opened.streams

    def note(self, reply: Reply) -> None:
        """Takes over what the agent found out about its machine."""
        if reply.error is None:
            self.vm = replace(self.vm, **reply.meta())

    def open_stream(self) -> Stream:
        """A stream of one's own to the agent, for a program. At once, if there was
        time since the last to open the next one; else it blocks one round trip."""
        spare = self._spare.take()
        if spare is not None:
            return spare
        token = self._take_token()
        return self._door().open(token)

    def open_streams(self, count: int) -> tuple[Stream, ...]:
        """Several, in one round trip; a single one where the server refuses forwards,
        because it admits few of the other kind. LinkLost."""
        tokens = tuple(self._take_token() for _ in range(count))
        door = self._door()
        try:
            return door.forward_all(tokens)
        except ForwardRefused:
            return (door.pump(tokens[0]),)

    def dial(self, host: str, port: int) -> Stream:
        """A TCP connection from the VM to `host`:`port`. Blocks one round trip.
        ConnectFailed if nothing listens there, LinkLost."""
        flow = self.flows.open()
        return streams.dial(self.connection, self._python, host, port, flow)

    def _door(self) -> streams.Door:
        return streams.Door(self.connection, self._python, self._port)

    def _take_token(self) -> str:
        with self._token_lock:
            if not self._tokens:
                self._port, fresh = streams.fresh_tokens(self.client, _TOKENS)
                self._tokens += fresh
            return self._tokens.pop()

    def close(self) -> None:
        """Ends everything at once, network dead or not."""
        if self.liveness:
            self.liveness.stop()
        self.connection.close()
        self.client.close()
        self._spare.close()
        self.bulk.close()
        self.incoming.close()


def open_uplink(target: Target, ask: Ask, timeout_s: float) -> Uplink:
    """Connects and starts the agent. LinkError, AgentError, Busy."""
    began = time.monotonic()
    connection = target.link.connect(ask, timeout_s)
    # A guess for the first bulk streams, before any ping is back.
    rtt_s = (time.monotonic() - began) / _CONNECT_TRIPS
    try:
        client, hello = start_agent(
            connection,
            python=target.python,
            hello={
                "root": target.root,
                "client": target.client_id,
                "session": target.session_id,
                "attempt": time.monotonic_ns(),  # larger than any before
                "shown": target.shown,
                "streams": _TOKENS,
            },
            timeout_s=timeout_s,
        )
    except BaseException:
        connection.close()
        raise
    return Uplink(connection, client, hello, target, rtt_s)
