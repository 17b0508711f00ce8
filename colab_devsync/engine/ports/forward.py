"""One local port whose connections are carried to a port on the VM.

Each connection has two threads: `devsync-forward` waits for the link if it is down,
reaches the VM's port and carries what goes up; see splice.py for the other. Knows no
session: `dial` and `tell` are given.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import replace

from ...core.events import Problem
from ...core.runs import ForwardInfo
from ...errors import ConnectFailed, DevsyncError
from ...link.base import Stream
from .splice import Splice, reset

_log = logging.getLogger(__name__)

MOST = 500  # connections of one forward; more are a mistake somewhere

_Connections = list[tuple[socket.socket, Splice | None]]


class Forward:
    """Any thread may call. `tell` is called whenever `info` or `problem` changed."""

    def __init__(
        self, info: ForwardInfo, dial: Callable[[], Stream], tell: Callable[[], None]
    ) -> None:
        self._info = info
        self._dial = dial
        self._tell = tell
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, Splice | None] = {}
        self._closed = False
        self.problem: Problem | None = None

    @property
    def info(self) -> ForwardInfo:
        return replace(self._info, connections=len(self._connections))

    def take(self, sock: socket.socket) -> None:
        """Carries one accepted connection; returns at once."""
        with self._lock:
            full = len(self._connections) >= MOST
            if not (full or self._closed):
                self._connections[sock] = None
        if full or self._closed:
            if full:
                self._note(f"has more than {MOST} connections; further ones are cut")
            reset(sock)
            sock.close()
            return
        thread = threading.Thread(
            target=self._carry, args=(sock,), name="devsync-forward", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as exc:  # the system has no more threads for us
            self._note(f"failed: {exc}")
            self._end(sock)
        else:
            self._tell()

    def close(self) -> None:
        """Cuts all connections. Never blocks."""
        with self._lock:
            self._closed = True
            connections = list(self._connections.items())
        _cut(connections)

    def look(self) -> bool:
        """Cuts connections whose local program broke off while the VM's takes nothing
        more: no thread reads there and sees it. Whether any is open. Never blocks."""
        with self._lock:
            connections = list(self._connections.items())
        _cut([one for one in connections if _is_broken(one[0])])
        return bool(connections)

    def _carry(self, sock: socket.socket) -> None:
        try:
            stream = self._reach()
            if stream is None:
                return
            splice = Splice(sock, stream)
            with self._lock:
                self._connections[sock] = splice
                closed = self._closed
            if closed:
                splice.abort()
            splice.run()
        finally:
            self._end(sock)

    def _end(self, sock: socket.socket) -> None:
        sock.close()
        with self._lock:
            del self._connections[sock]
        self._tell()

    def _reach(self) -> Stream | None:
        """None: there is no way to that port, which was told."""
        try:
            stream = self._dial()
        except ConnectFailed:
            self._note(
                "leads nowhere: nothing listens there",
                "Start the program on the VM, or see on which port it listens.",
            )
        except DevsyncError as exc:
            self._note(f"failed: {exc.message}", exc.hint)
        except BaseException:
            self._note("failed inside", "See the log file.")
            raise
        else:
            self.problem = None
            return stream
        return None

    def _note(self, what: str, hint: str = "") -> None:
        info = self._info
        where = f"port {info.remote_port} of the VM"
        text = f"The forward of 127.0.0.1:{info.local_port} to {where} {what}."
        _log.info("%s %s", text, hint)
        if not self._closed:
            self.problem = Problem("", text.replace("..", "."), hint)


def _is_broken(sock: socket.socket) -> bool:
    try:
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
    except OSError:
        return False  # closed: its threads are about to end


def _cut(connections: _Connections) -> None:
    """On a thread of its own: telling the VM blocks while the wire is full."""

    def run() -> None:
        for sock, splice in connections:
            if splice is None:
                reset(sock)
            else:
                splice.abort()

    if connections:
        threading.Thread(target=run, name="devsync-forward-end", daemon=True).start()
