"""The instruments themselves: the chaos proxy does what it says, and so does sshd."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.proxy import ChaosProxy
from tests.support.sshd import Sshd
from tests.support.streams import receive

MB = 1_000_000
MakeProxy = Callable[..., ChaosProxy]


class Server:
    """Echoes, or counts, on 127.0.0.1; remembers what each connection brought."""

    def __init__(self, echo: bool) -> None:
        self._echo = echo
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.received: list[bytes] = []
        self.ended = threading.Condition()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)
        self._listener.close()

    def wait_ended(self, count: int) -> bool:
        with self.ended:
            return self.ended.wait_for(lambda: len(self.received) >= count, 60)

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        got = bytearray()
        digest = hashlib.sha256()
        with peer:
            try:
                while data := peer.recv(1 << 18):
                    if self._echo:
                        peer.sendall(data)
                        got += data
                    else:
                        digest.update(data[:64])
                if not self._echo:
                    peer.sendall(digest.digest())
            except ConnectionError:
                pass
        with self.ended:
            self.received.append(bytes(got))
            self.ended.notify_all()


@pytest.fixture
def echo() -> Iterator[Server]:
    server = Server(echo=True)
    yield server
    server.close()


@pytest.fixture
def drain() -> Iterator[Server]:
    server = Server(echo=False)
    yield server
    server.close()


def dial(proxy: ChaosProxy) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", proxy.port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(30)
    return sock


def ping(sock: socket.socket) -> float:
    start = time.monotonic()
    sock.sendall(b"x")
    assert sock.recv(1) == b"x"
    return time.monotonic() - start


@pytest.mark.parametrize("rtt_ms", [0, 20, 100])
def test_delay_is_exact(echo: Server, make_proxy: MakeProxy, rtt_ms: int) -> None:
    proxy = make_proxy(echo.port, rtt_ms=rtt_ms)
    with dial(proxy) as sock:
        ping(sock)
        best_after(lambda: ping(sock), at_least_s=rtt_ms / 1000, below_s=0.005)


def best_after(measure: Callable[[], float], at_least_s: float, below_s: float) -> None:
    """It never takes less, and takes little more as soon as the machine has time."""
    while True:
        took = measure()
        assert took >= at_least_s
        if took < at_least_s + below_s:
            return


def test_connecting_costs_a_round_trip(echo: Server, make_proxy: MakeProxy) -> None:
    proxy = make_proxy(echo.port, rtt_ms=100)

    def first_ping() -> float:
        with dial(proxy) as sock:
            return ping(sock)

    best_after(first_ping, at_least_s=0.2, below_s=0.08)


def test_wide_and_long(drain: Server, make_proxy: MakeProxy) -> None:
    """200 MB/s at 200 ms RTT needs 20 MB under way each direction; 64 MB are asked,
    all of it before the first byte arrives."""
    proxy = make_proxy(drain.port, rtt_ms=600_000)
    with dial(proxy) as sock:
        sock.sendall(bytes(64 * MB))
        assert proxy.counts().up == 0


def test_every_byte_passes(echo: Server, make_proxy: MakeProxy) -> None:
    proxy = make_proxy(echo.port, rtt_ms=5)
    data = os.urandom(20 * MB)
    with dial(proxy) as sock, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(sock.sendall, data)
        digest, left = hashlib.sha256(), len(data)
        while left:
            part = sock.recv(1 << 18)
            digest.update(part)
            left -= len(part)
        sending.result(30)
    assert digest.digest() == hashlib.sha256(data).digest()
    assert echo.wait_ended(1)
    counts = proxy.counts()
    assert (counts.connections, counts.up, counts.down) == (1, len(data), len(data))


def test_bandwidth_is_shared(drain: Server, make_proxy: MakeProxy) -> None:
    proxy = make_proxy(drain.port, bandwidth=10 * MB)

    def upload(size: int) -> None:
        with dial(proxy) as sock:
            sock.sendall(bytes(size))
            sock.shutdown(socket.SHUT_WR)
            assert len(sock.recv(100)) == 32

    start = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(upload, [2 * MB, 2 * MB]))
    assert time.monotonic() - start >= 0.39


@pytest.mark.parametrize("which", ["both", "up", "down"])
def test_freeze_is_silent_and_can_be_undone(
    echo: Server, make_proxy: MakeProxy, which: str
) -> None:
    proxy = make_proxy(echo.port)
    with dial(proxy) as sock:
        ping(sock)
        proxy.freeze(which)  # type: ignore[arg-type]
        sock.sendall(b"late")
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        proxy.unfreeze()
        sock.settimeout(30)
        assert receive(sock, 4) == b"late"


def test_new_connections_hang_while_frozen(echo: Server, make_proxy: MakeProxy) -> None:
    proxy = make_proxy(echo.port)
    proxy.freeze()
    with dial(proxy) as sock:
        sock.sendall(b"x")
        sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        assert proxy.counts().connections == 0


def test_reset_all(echo: Server, make_proxy: MakeProxy) -> None:
    proxy = make_proxy(echo.port)
    with dial(proxy) as one, dial(proxy) as two:
        ping(one)
        ping(two)
        proxy.reset_all()
        for sock in (one, two):
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
    assert echo.wait_ended(2)
    with dial(proxy) as sock:
        ping(sock)


def chatter(sock: socket.socket) -> None:
    for _ in range(1000):
        sock.sendall(b"y" * 10)
        sock.recv(10)


@pytest.mark.parametrize("count", [0, 1, 7, 99, 100])
def test_cut_up_after_exactly_so_many_bytes(
    echo: Server, make_proxy: MakeProxy, count: int
) -> None:
    proxy = make_proxy(echo.port)
    with dial(proxy) as sock:
        ping(sock)
        proxy.cut_after("up", count)
        with pytest.raises(ConnectionError):
            chatter(sock)
    assert echo.wait_ended(1)
    assert echo.received == [b"x" + b"y" * count]
    with dial(proxy) as sock:
        ping(sock)


@pytest.mark.parametrize("count", [0, 1, 50])
def test_cut_down_after_exactly_so_many_bytes(
    echo: Server, make_proxy: MakeProxy, count: int
) -> None:
    proxy = make_proxy(echo.port)
    proxy.cut_after("down", count)  # the next connection
    got = b""
    with dial(proxy) as sock:
        try:
            sock.sendall(b"z" * 80)
            while data := sock.recv(100):
                got += data
        except ConnectionError:
            pass  # the end may come as a reset, after the bytes
    assert got == b"z" * count
    with dial(proxy) as sock:
        ping(sock)


def test_refuse(echo: Server, make_proxy: MakeProxy) -> None:
    proxy = make_proxy(echo.port)
    proxy.refuse()
    with pytest.raises(ConnectionError), dial(proxy) as sock:
        ping(sock)
    proxy.refuse(False)
    with dial(proxy) as sock:
        ping(sock)


def test_sshd_restarts_on_its_port(make_sshd: Callable[..., Sshd]) -> None:
    sshd = make_sshd()
    port = sshd.port
    sshd.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    sshd.start()
    with socket.create_connection(("127.0.0.1", port)) as sock:
        assert receive(sock, 4) == b"SSH-"
    assert sshd.port == port
