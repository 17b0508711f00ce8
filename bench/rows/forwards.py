"""Ports of the VM on this machine, against `ssh -L`: echo, download, and a save that
must not wait behind either direction."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers import PIECE, Server

from ..lsp_client import LspClient
from ..report import Result, median
from ..trees import source_bytes
from ..world import ONLINE_S, Project, World
from . import Effort

OURS, OPENSSH = "colab-devsync", "ssh -L"
DOWNLOAD = 400_000_000  # bytes
WARM_UP_S = 1.5  # until the flow control has found the link's pace

Connect = Callable[[], socket.socket]


def echo(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    row = "forwarded echo of 10 bytes"
    world.rtt(rtt_ms)
    with Server("echo") as server:
        with openssh(world, server.port) as connect:
            theirs = _echo_ms(connect, effort.repeats * 4)
        with ours(world, server.port) as (connect, _, _):
            mine = _echo_ms(connect, effort.repeats * 4)
    yield Result(row, OURS, rtt_ms, mine, "ms", limit=theirs + 2.0)
    yield Result(row, OPENSSH, rtt_ms, theirs, "ms")


def download(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    """Best of three in turns: other work on the machine must not decide."""
    size = int(DOWNLOAD * min(1.0, effort.scale * 2))
    row = f"forwarded download of {size // 1_000_000} MB"
    world.rtt(rtt_ms)
    with (
        Server("source") as server,
        openssh(world, server.port) as other,
        ours(world, server.port) as (connect, _, _),
    ):
        pairs = [
            (_download_s(connect, size), _download_s(other, size)) for _ in range(3)
        ]
    mine, theirs = (min(times) for times in zip(*pairs, strict=True))
    yield Result(row, OURS, rtt_ms, mine, "s", limit=theirs / 3, note="best of 3")
    yield Result(row, OPENSSH, rtt_ms, theirs, "s", note="best of 3")


def save_during(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    world.rtt(rtt_ms)
    for kind, busy in (("source", _downloading), ("sink", _uploading)):
        way = "download" if kind == "source" else "upload"
        with Server(kind) as server, ours(world, server.port) as parts:
            connect, client, project = parts
            times = []
            with busy(connect) as speed:
                threading.Event().wait(WARM_UP_S)
                for number in range(effort.repeats):
                    times.append(_save_ms(client, project.root, number))
                    threading.Event().wait(0.05)
        yield Result(
            f"save during a full-speed forwarded {way}",
            OURS,
            rtt_ms,
            median(times),
            "ms",
            limit=rtt_ms + 50.0,
            note=f"worst {max(times):.0f}, {speed() / 1e6:.0f} MB/s",
        )


@contextmanager
def ours(world: World, port: int) -> Iterator[tuple[Connect, LspClient, Project]]:
    project = world.project()
    with world.online(project) as client:
        wish = {"folder": str(project.root), "remotePort": port}
        local = client.command("devsync.forward", wish, ONLINE_S)["localPort"]
        yield lambda: _connect(local), client, project


@contextmanager
def openssh(world: World, port: int) -> Iterator[Connect]:
    target = world.target()
    with socket.create_server(("127.0.0.1", 0)) as free:
        local = free.getsockname()[1]
    argv = [*target.ssh(), "-N", "-L", f"127.0.0.1:{local}:127.0.0.1:{port}"]
    process = subprocess.Popen([*argv, target.host])
    try:
        _wait_for(local)
        yield lambda: _connect(local)
    finally:
        process.terminate()
        process.wait(10)


def _connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), 60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _wait_for(port: int) -> None:
    end = time.monotonic() + ONLINE_S
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise TimeoutError("ssh -L does not listen")


def _echo_ms(connect: Connect, repeats: int) -> float:
    times = []
    with connect() as sock:
        for _ in range(repeats + 3):
            began = time.perf_counter()
            sock.sendall(b"0123456789")
            sock.recv(10)
            times.append(1000 * (time.perf_counter() - began))
    return median(times[3:])


def _download_s(connect: Connect, size: int) -> float:
    buffer = bytearray(PIECE)
    with connect() as sock:
        began = time.perf_counter()
        sock.sendall(b"%d\n" % size)
        while sock.recv_into(buffer):
            pass
        return time.perf_counter() - began


@contextmanager
def _downloading(connect: Connect) -> Iterator[Callable[[], float]]:
    with connect() as sock, _moving(lambda buffer: sock.recv_into(buffer)) as speed:
        sock.sendall(b"%d\n" % 10**12)
        yield speed
        sock.shutdown(socket.SHUT_RDWR)


@contextmanager
def _uploading(connect: Connect) -> Iterator[Callable[[], float]]:
    with connect() as sock, _moving(lambda buffer: sock.send(buffer)) as speed:
        yield speed
        sock.shutdown(socket.SHUT_RDWR)


@contextmanager
def _moving(move: Callable[[bytearray], int]) -> Iterator[Callable[[], float]]:
    """Moves bytes on a thread until the socket ends; gives the speed in bytes/s."""
    began = time.perf_counter()
    moved = 0

    def run() -> None:
        nonlocal moved
        buffer = bytearray(PIECE)
        try:
            while size := move(buffer):
                moved += size
        except OSError:
            pass  # the end of the measurement

    thread = threading.Thread(target=run)
    thread.start()
    ended: list[float] = []

    def speed() -> float:
        return moved / ((ended[0] if ended else time.perf_counter()) - began)

    try:
        yield speed
    finally:
        ended.append(time.perf_counter())
        thread.join(30)


def _save_ms(client: LspClient, root: Path, number: int) -> float:
    path = root / "train.py"
    mark = client.mark()
    path.write_bytes(source_bytes(10_000 + number, seed=number))
    told = client.save(path)
    note = client.wait_for(
        "colabDevsync/mirrored",
        lambda params: params["path"] == path.name,
        since=mark,
        timeout_s=30,
    )
    return 1000 * (note.at - told)
