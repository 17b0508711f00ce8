"""Accepts connections on any number of local listeners, on one thread of its own.

`devsync-forward-accept` starts with the first listener and ends with `close`. Now and
then it also looks after the connections. Callbacks run on it and must not block.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import selectors
import socket
import threading
import time
from collections.abc import Callable

_log = logging.getLogger(__name__)

_LOOK_S = 5.0
_NO_ROOM_S = 0.1  # pause when the process has no more file descriptors

OnConnection = Callable[[socket.socket], None]


class Acceptor:
    """Any thread may call. `look` is called every few seconds; it says whether there
    is still something to look after."""

    def __init__(self, look: Callable[[], bool]) -> None:
        self._look = look
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._wake: socket.socket | None = None  # there while the thread runs
        self._selector: selectors.BaseSelector | None = None
        self._pause = threading.Event()  # set when it shall end

    def add(self, listener: socket.socket, on_connection: OnConnection) -> None:
        """`listener` is ours from now on; it does not block."""

        def work() -> None:
            assert self._selector is not None
            self._selector.register(listener, selectors.EVENT_READ, on_connection)

        self._order(work)

    def remove(self, listener: socket.socket, then: Callable[[], None]) -> None:
        """Closes it and runs `then`."""

        def work() -> None:
            assert self._selector is not None
            with contextlib.suppress(KeyError):  # removed before
                self._selector.unregister(listener)
            listener.close()
            then()

        self._order(work)

    def close(self) -> None:
        """Closes all listeners. Does not wait for that."""
        with self._lock:
            if self._wake is not None:
                self._pause.set()
                self._wake.send(b"\0")

    def _order(self, work: Callable[[], None]) -> None:
        with self._lock:
            if self._pause.is_set():
                raise RuntimeError("the acceptor is closed")
            self._orders.put(work)
            if self._wake is None:
                self._start()
            assert self._wake is not None
            self._wake.send(b"\0")

    def _start(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake, woken = socket.socketpair()
        woken.setblocking(False)
        self._selector.register(woken, selectors.EVENT_READ, None)
        threading.Thread(
            target=self._run,
            args=(self._selector, woken),
            name="devsync-forward-accept",
            daemon=True,
        ).start()

    def _run(self, selector: selectors.BaseSelector, woken: socket.socket) -> None:
        due: float | None = None
        while not self._pause.is_set():
            left = None if due is None else max(0.0, due - time.monotonic())
            for key, _ in selector.select(left):
                if key.data is None:
                    woken.recv(4096)
                    self._obey()
                elif isinstance(key.fileobj, socket.socket):
                    self._accept(key.fileobj, key.data)
                    due = due or time.monotonic() + _LOOK_S
            if due is not None and time.monotonic() >= due:
                due = time.monotonic() + _LOOK_S if self._look() else None
        self._obey()
        for key in list(selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        selector.close()
        with self._lock:
            assert self._wake is not None
            self._wake.close()

    def _obey(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._orders.get_nowait()()

    def _accept(self, listener: socket.socket, on_connection: OnConnection) -> None:
        if listener.fileno() < 0:  # closed by an order of the same round
            return
        try:
            sock, _ = listener.accept()
        except (BlockingIOError, ConnectionError, InterruptedError):
            return  # it hung up before we looked
        except OSError as exc:
            _log.warning("a forwarded connection could not be accepted: %s", exc)
            self._pause.wait(_NO_ROOM_S)
            return
        sock.setblocking(True)
        with contextlib.suppress(OSError):  # it hung up already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        on_connection(sock)
