"""The forwards of one session: which there are, and what the configuration wants.

Its state belongs to the engine thread. Listeners stay when the link is lost: who
connects meanwhile waits for it. They end with the session.
"""

from __future__ import annotations

import logging
import platform
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from ...core.config import ForwardConfig
from ...core.events import Problem
from ...core.runs import ForwardInfo
from ...errors import DevsyncError, LinkLost
from ...link.base import Stream
from ..link_watch import LinkWatch
from ..loop import EngineLoop
from ..reach import Reach
from ..uplink import Uplink
from .acceptor import Acceptor
from .forward import Forward
from .local_port import is_taken, listen

_log = logging.getLogger(__name__)

WAIT_S = 20.0  # a connection waits so long for a link that is down
_LOOPBACK = "127.0.0.1"

Target = Callable[[Uplink], tuple[str, int]]  # host and port, seen from the VM


@dataclass(frozen=True)
class _Open:
    forward: Forward
    listener: socket.socket


class Forwards:
    def __init__(self, loop: EngineLoop, reach: Reach) -> None:
        self._loop = loop
        self._reach = reach
        self._link = LinkWatch()
        self._acceptor = Acceptor(self._look_after)
        self._open: dict[int, _Open] = {}  # by local port
        self._configured: Sequence[ForwardConfig] = ()
        self._wanted: dict[ForwardConfig, int] = {}  # what is configured: its port
        self._failures: dict[ForwardConfig, Problem] = {}

    # --- any thread ---------------------------------------------------------------

    def open(
        self,
        remote_port: int,
        local_port: int = 0,
        *,
        name: str = "",
        remote_host: str = _LOOPBACK,
    ) -> Future[ForwardInfo]:
        """Connects if needed. Without `local_port`, any forward of this port there is
        will do; else the same number if it is free. A taken port: the next free one.
        LinkError, AgentError, ConfigError; DevsyncError if no port is free."""
        wish = ForwardInfo(name, remote_port, local_port, remote_host)

        def work(future: Future[ForwardInfo]) -> None:
            def then(error: DevsyncError | None) -> None:
                try:
                    if error is not None:
                        raise error
                    future.set_result(self._find(wish) or self._begin(wish))
                except DevsyncError as exc:
                    future.set_exception(exc)

            self._reach.when_online(then)

        return self._loop.submit(work)

    def close(self, port: int) -> Future[tuple[ForwardInfo, ...]]:
        """Closes the forward with this local port; if there is none, all forwards of
        this port of the VM. Cuts their connections. DevsyncError if there is none."""

        def work(future: Future[tuple[ForwardInfo, ...]]) -> None:
            found = [self._open[port]] if port in self._open else []
            if not found:
                every = self._open.values()
                found = [one for one in every if one.forward.info.remote_port == port]
            if not found:
                raise DevsyncError(
                    f"There is no forward of port {port}.",
                    "`colab-devsync forward` lists the open ones.",
                )
            for one in found:
                self._end(one)
            future.set_result(tuple(one.forward.info for one in found))

        return self._loop.submit(work)

    @property
    def snapshot(self) -> tuple[ForwardInfo, ...]:
        """At once, by local port."""
        every = tuple(self._open.values())
        infos = [one.forward.info for one in every]
        return tuple(sorted(infos, key=lambda info: info.local_port))

    @property
    def problems(self) -> tuple[Problem, ...]:
        found = [one.forward.problem for one in tuple(self._open.values())]
        return (*self._failures.values(), *(one for one in found if one is not None))

    @property
    def is_in_use(self) -> bool:
        """Whether a program here has a connection open."""
        return any(info.connections for info in self.snapshot)

    # --- the engine thread --------------------------------------------------------

    def look(self) -> None:
        """After each batch of steps: is there another link, another configuration?"""
        reach = self._reach
        self._link.tell(reach.uplink, reach.is_wanted)
        configured = reach.config.forward if reach.config else ()
        if reach.uplink is not None and configured is not self._configured:
            self._configured = configured
            self._use(configured)

    def _use(self, configured: Sequence[ForwardConfig]) -> None:
        """Opens and closes what changed."""
        for old in [one for one in self._wanted if one not in configured]:
            gone = self._open.get(self._wanted.pop(old))
            if gone is not None:
                self._end(gone)
        self._failures.clear()
        for new in configured:
            if self._wanted.get(new) not in self._open:
                wish = ForwardInfo(new.name, new.remote_port, new.local_port)
                try:
                    info = self._find(wish) or self._begin(wish)
                    self._wanted[new] = info.local_port
                except DevsyncError as exc:
                    self._failures[new] = Problem("", exc.message, exc.hint)

    def shut(self) -> None:
        """The session ends: so do all forwards. Any thread."""
        self._link.close()
        self._loop.post(self._shut)

    def _shut(self) -> None:
        for one in self._open.values():
            one.forward.close()
        self._open.clear()
        self._acceptor.close()

    def _find(self, wish: ForwardInfo) -> ForwardInfo | None:
        """What is open already and serves this wish."""
        for info in self.snapshot:
            same = (info.remote_host, info.remote_port)
            if same == (wish.remote_host, wish.remote_port) and wish.local_port in (
                0,
                info.local_port,
                info.moved_from,
            ):
                return info
        return None

    def serve(self, wish: ForwardInfo, target: Target) -> ForwardInfo:
        """A forward whose target is found anew for each connection: the VM may have
        been replaced. DevsyncError if no port is free."""
        return self._begin(wish, target)

    def _begin(self, wish: ForwardInfo, target: Target | None = None) -> ForwardInfo:
        avoid = wish.remote_port if self._is_here(wish) else 0
        try:
            listener = listen(wish.local_port or wish.remote_port, avoid)
        except OSError as exc:
            raise DevsyncError(
                f"No port of this machine could be opened for port {wish.remote_port} "
                f"of the VM: {exc.strerror}."
            ) from exc
        port: int = listener.getsockname()[1]
        moved = wish.local_port if wish.local_port not in (0, port) else None
        info = ForwardInfo(
            wish.name or str(wish.remote_port),
            wish.remote_port,
            port,
            wish.remote_host,
            moved_from=moved,
        )
        forward = Forward(
            info,
            lambda: self._dial(
                target or (lambda uplink: (info.remote_host, info.remote_port))
            ),
            lambda: self._loop.post(lambda: None),
        )
        self._open[port] = _Open(forward, listener)
        self._acceptor.add(listener, forward.take)
        _log.info("forwarding 127.0.0.1:%d to port %d", port, wish.remote_port)
        return info

    def _is_here(self, wish: ForwardInfo) -> bool:
        """Whether the "VM" is this machine (the sandbox): its port is ours, and
        taking it would keep the program from it and lead the forward to itself."""
        uplink = self._reach.uplink
        if uplink is None or wish.remote_host != _LOOPBACK:
            return False
        return uplink.vm.host == platform.node() and is_taken(uplink.hello.bulk_port)

    def _end(self, one: _Open) -> None:
        port = one.forward.info.local_port
        del self._open[port]
        closed = threading.Event()
        self._acceptor.remove(one.listener, closed.set)
        closed.wait(1.0)  # it never blocks: the port is free when this returns
        one.forward.close()

    # --- threads of connections ---------------------------------------------------

    def _look_after(self) -> bool:
        """Whether any connection is open."""
        every = [one.forward for one in tuple(self._open.values())]
        return any([forward.look() for forward in every])

    def _dial(self, target: Target) -> Stream:
        """Waits for a link that is down, and tries again if it dies meanwhile."""
        deadline = time.monotonic() + WAIT_S
        if self._reach.uplink is None:
            self._loop.post(self._reach.note_activity)  # it tries without a pause
        while True:
            uplink = self._link.wait(limit_s=max(0.0, deadline - time.monotonic()))
            try:
                return uplink.dial(*target(uplink))
            except LinkLost as exc:
                uplink.client.lose(exc)
