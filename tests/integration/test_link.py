"""What every link must do, over the sandbox and over a real OpenSSH server."""

from __future__ import annotations

import hashlib
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout  # not builtin on 3.10
from dataclasses import dataclass

import pytest

from colab_devsync.errors import ConnectFailed, LinkError, LinkLost
from colab_devsync.link.base import Stream
from tests.support.ports import free_port
from tests.support.proxy import ChaosProxy
from tests.support.remotes import Remote
from tests.support.streams import receive

MB = 1_000_000


def read_all(stream: Stream) -> bytes:
    return b"".join(iter(lambda: stream.read(1 << 20), b""))


def digest_of(stream: Stream) -> tuple[int, str]:
    total, digest = 0, hashlib.sha256()
    while data := stream.read(1 << 20):
        total += len(data)
        digest.update(data)
    return total, digest.hexdigest()


@dataclass
class Sink:
    """A loopback server on the "VM" that answers with the SHA-256 of what it got."""

    port: int


@pytest.fixture
def sink() -> Iterator[Sink]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:

        def answer(peer: socket.socket) -> None:
            digest = hashlib.sha256()
            with peer:
                while data := peer.recv(1 << 18):
                    digest.update(data)
                peer.sendall(digest.hexdigest().encode())

        def accept() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return  # the test is over
                threading.Thread(target=answer, args=(peer,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield Sink(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)
        thread.join(30)


def test_exec_gives_stdout_stderr_and_exit_status(remote: Remote) -> None:
    program = remote.connect().exec("echo out; echo err >&2; exit 7")
    assert read_all(program) == b"out\n"
    assert program.exit_status(30) == 7
    assert program.stderr_tail() == b"err\n"
    program.close()


def test_exec_reads_stdin(remote: Remote) -> None:
    program = remote.connect().exec("read line; echo got $line")
    program.write(b"hello\n")
    assert read_all(program) == b"got hello\n"


def test_exit_status_is_none_while_the_command_runs(remote: Remote) -> None:
    program = remote.connect().exec("read line; exit 4")
    assert program.exit_status(0.05) is None
    program.write(b"go\n")
    assert program.exit_status(30) == 4


def test_death_by_signal_is_128_plus_its_number(remote: Remote) -> None:
    program = remote.connect().exec("kill -KILL $$")
    assert program.exit_status(30) == 128 + 9


def test_stderr_tail_is_bounded_and_the_command_never_blocks(remote: Remote) -> None:
    script = "head -c 20000000 /dev/zero >&2; echo end >&2; echo done"
    program = remote.connect().exec(script)
    assert read_all(program) == b"done\n"
    assert program.exit_status(30) == 0
    tail = program.stderr_tail()
    assert len(tail) == 32 * 1024
    assert tail.endswith(b"end\n")


def test_100_mb_through_a_command_both_ways_at_once(remote: Remote) -> None:
    program = remote.connect().exec(f"head -c {100 * MB}")
    block = os.urandom(MB)
    expected = hashlib.sha256(block * 100).hexdigest()

    def feed() -> None:
        for _ in range(100):
            program.write(block)

    with ThreadPoolExecutor(1) as pool:
        feeding = pool.submit(feed)
        assert digest_of(program) == (100 * MB, expected)
        feeding.result(30)
    assert program.exit_status(30) == 0


def test_memoryview_slices_and_empty_writes(remote: Remote) -> None:
    program = remote.connect().exec("head -c 6")
    data = memoryview(b"0123456789")
    program.write(data[:3])
    program.write(b"")
    program.write(data[3:6])
    assert read_all(program) == b"012345"


def test_many_commands_on_one_connection(remote: Remote) -> None:
    connection = remote.connect()
    for number in range(30):  # more than MaxSessions: closed ones do not count
        program = connection.exec(f"echo {number}")
        assert read_all(program) == f"{number}\n".encode()
        program.close()


def test_forwarded_connection_and_its_ends(remote: Remote, sink: Sink) -> None:
    stream = remote.connect().connect_tcp("127.0.0.1", sink.port)
    stream.write(b"abc")
    stream.close_write()
    assert read_all(stream) == hashlib.sha256(b"abc").hexdigest().encode()
    assert stream.read(1) == b""
    stream.close()
    stream.close()


def test_16_parallel_forwards_deliver_every_byte(remote: Remote, sink: Sink) -> None:
    connection = remote.connect()

    def send(number: int) -> bool:
        stream = connection.connect_tcp("127.0.0.1", sink.port)
        data = os.urandom(4 * MB)
        stream.write(data)
        stream.close_write()
        answer = read_all(stream)
        stream.close()
        return answer == hashlib.sha256(data).hexdigest().encode()

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(send, range(16)))


def test_nothing_listens_there(remote: Remote) -> None:
    port = free_port()
    connection = remote.connect()
    with pytest.raises(ConnectFailed, match=f"127.0.0.1:{port} on the VM"):
        connection.connect_tcp("127.0.0.1", port)
    assert connection.is_alive()


def test_writing_to_a_program_that_has_ended(remote: Remote) -> None:
    program = remote.connect().exec("exit 0")
    assert program.exit_status(30) == 0
    assert program.read(1) == b""
    with pytest.raises(LinkLost, match="other end is closed"):
        program.write(bytes(64 * MB))  # more than any window: it notices at the latest


def test_threads_are_ours_and_end_with_the_connection(remote: Remote) -> None:
    before = set(threading.enumerate())
    connection = remote.connect()
    started = set(threading.enumerate()) - before
    assert started
    assert all(thread.name.startswith("devsync-") for thread in started)
    assert all(thread.daemon for thread in started)
    connection.close()
    for thread in started:
        thread.join(30)
        assert not thread.is_alive()


def test_after_close_everything_says_so(remote: Remote) -> None:
    connection = remote.connect()
    program = connection.exec("cat")
    connection.close()
    connection.close()
    assert not connection.is_alive()
    with pytest.raises(LinkLost):
        program.read(1)
    with pytest.raises(LinkLost):
        program.write(b"x")
    with pytest.raises(LinkLost):
        connection.exec("true")
    with pytest.raises(LinkLost):
        connection.connect_tcp("127.0.0.1", 1)
    program.close()


@pytest.mark.parametrize("blocked_in", ["read", "write", "exit_status", "connect_tcp"])
def test_close_wakes_who_waits_on_a_dead_network(
    remote: Remote, proxy: ChaosProxy, blocked_in: str
) -> None:
    connection = remote.connect(proxy.port)
    program = connection.exec("cat")
    program.write(b"ready")
    assert receive(program, 5) == b"ready"
    proxy.freeze()
    calls: dict[str, Callable[[], object]] = {
        "read": lambda: program.read(1),
        "write": lambda: program.write(bytes(64 * MB)),
        "exit_status": lambda: program.exit_status(60),
        "connect_tcp": lambda: connection.connect_tcp("127.0.0.1", 9),
    }
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(calls[blocked_in])
        with pytest.raises(FutureTimeout):
            waiting.result(0.2)
        connection.close()
        with pytest.raises(LinkLost):
            waiting.result(30)


def test_a_reset_is_noticed_by_readers_at_once(
    remote: Remote, proxy: ChaosProxy
) -> None:
    connection = remote.connect(proxy.port)
    program = connection.exec("cat")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(program.read, 1)
        program.write(b"")
        proxy.reset_all()
        with pytest.raises(LinkLost):
            waiting.result(30)
    assert not connection.is_alive()


def test_data_that_arrived_before_the_loss_can_be_read(
    remote: Remote, proxy: ChaosProxy
) -> None:
    program = remote.connect(proxy.port).exec("echo before; cat")
    assert program.read(1) == b"b"
    proxy.reset_all()
    assert receive(program, 6) == b"efore\n"
    with pytest.raises(LinkLost):
        program.read(1)


def test_connecting_needs_four_round_trips_and_exec_two(
    remote: Remote, proxy: ChaosProxy
) -> None:
    """TCP, SSH versions, keys, authentication; then exec and its output. The best of
    a few counts: a busy machine adds time, never takes round trips away."""
    rtt = 0.2
    proxy.shape(rtt_ms=rtt * 1000)
    best = [math.inf, math.inf, math.inf]
    for _ in range(30):
        clock = Clock()
        connection = remote.connect(proxy.port)
        laps = [clock.lap()]
        program = connection.exec("echo ready; cat")
        assert receive(program, 6) == b"ready\n"
        laps.append(clock.lap())
        connection.connect_tcp("127.0.0.1", remote.login.port).close()
        laps.append(clock.lap())
        connection.close()
        best = list(map(min, best, laps))
        if best[0] < 4.6 * rtt and best[1] < 1.6 * rtt and best[2] < 1.5 * rtt:
            return
    raise AssertionError(f"round trips: {[lap / rtt for lap in best]}")


@pytest.mark.openssh  # the sandbox admits any number
def test_the_11th_session_is_refused_clearly(remote: Remote) -> None:
    connection = remote.connect()
    programs = [connection.exec("cat") for _ in range(10)]
    with pytest.raises(LinkError, match="no more sessions") as caught:
        connection.exec("cat")
    assert "MaxSessions" in caught.value.hint
    for program in programs:
        program.close()


class Clock:
    def __init__(self) -> None:
        self._last = time.monotonic()

    def lap(self) -> float:
        last, self._last = self._last, time.monotonic()
        return self._last - last
