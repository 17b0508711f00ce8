"""The client's side of a link that dies: everybody is told, once, and in time."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from colab_devsync.agent import wire
from colab_devsync.errors import AgentCrashed, AgentError, DevsyncError, LinkLost
from colab_devsync.remote.client import AgentClient, Reply
from colab_devsync.remote.liveness import SILENCE_S, Liveness, silence_limit_s

PATIENCE_S = 60.0


class SocketStream:
    """A link's stream over a socket."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def read(self, size: int) -> bytes:
        try:
            return self._end.recv(size)
        except OSError as exc:
            raise LinkLost("reset") from exc

    def write(self, *parts: bytes | memoryview) -> None:
        try:
            self._end.sendall(b"".join(parts))
        except OSError as exc:
            raise LinkLost("reset") from exc

    def close(self) -> None:
        with contextlib.suppress(OSError):  # the peer was first
            self._end.shutdown(socket.SHUT_RDWR)
        self._end.close()

    def stderr_tail(self) -> bytes:
        return b""

    def exit_status(self, timeout_s: float) -> int | None:
        return None


class Pair:
    """A client, and the test as its agent."""

    def __init__(self) -> None:
        ours, self.peer = socket.socketpair()
        self.peer.settimeout(PATIENCE_S)
        self.heard = self.peer.makefile("rb")
        self.client = AgentClient(SocketStream(ours))
        self.lost: list[DevsyncError] = []
        self.is_lost = threading.Event()
        self.client.on_lost = self._on_lost
        self.client.start()

    def _on_lost(self, error: DevsyncError) -> None:
        self.lost.append(error)
        self.is_lost.set()

    def ask(self, count: int) -> list[Reply]:
        """Sends requests; the list fills with their replies."""
        replies: list[Reply] = []
        for _ in range(count):
            self.client.send({"op": "list"}, b"", replies.append)
        return replies

    def close(self) -> None:
        self.client.close()
        self.heard.close()
        self.peer.close()
        for thread in threading.enumerate():
            if thread.name in ("devsync-agent-reader", "devsync-liveness"):
                thread.join(PATIENCE_S)
                assert not thread.is_alive()
        assert len(self.lost) == 1


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def watch(pair: Pair, samples: list[float]) -> Liveness:
    liveness = Liveness(pair.client, pace_s=lambda: 1.0, on_rtt=samples.append)
    liveness.start()
    return liveness


def test_replies_find_their_requests(pair: Pair) -> None:
    replies = pair.ask(3)
    asked = [wire.read_frame(pair.heard) for _ in range(3)]
    for frame in reversed(asked):
        assert frame is not None
        pair.peer.sendall(wire.encode(frame.seq, {"for": frame.seq}))
    pair.peer.sendall(wire.encode(999, {"for": "nobody"}))
    pair.peer.shutdown(socket.SHUT_WR)
    assert pair.is_lost.wait(PATIENCE_S)
    assert [reply.meta()["for"] for reply in replies] == [3, 2, 1]


def test_a_silent_peer_is_noticed_in_time(pair: Pair) -> None:
    samples: list[float] = []
    began = time.monotonic()
    watch(pair, samples)
    replies = pair.ask(5)
    assert pair.is_lost.wait(PATIENCE_S)
    assert time.monotonic() - began >= SILENCE_S - 0.1
    assert isinstance(pair.lost[0], LinkLost)
    assert "Nothing was heard" in pair.lost[0].message
    assert [reply.error for reply in replies] == [pair.lost[0]] * 5
    assert samples == []


def test_a_long_reply_that_trickles_in_is_not_silence(pair: Pair) -> None:
    """Larger than the link carries within the limit."""
    watch(pair, [])
    replies = pair.ask(1)
    frame = wire.encode(2, {"op": "list"}, bytes(3500))
    seqs = {wire.read_frame(pair.heard).seq, wire.read_frame(pair.heard).seq}  # type: ignore[union-attr]
    assert seqs == {1, 2}
    clock = threading.Event()
    for at in range(0, len(frame), 100):
        assert not clock.wait((SILENCE_S + 1) / (len(frame) / 100))
        pair.peer.sendall(frame[at : at + 100])
        assert not pair.is_lost.is_set()
    assert pair.is_lost.wait(PATIENCE_S)
    assert len(replies) == 1


def test_a_pause_of_our_own_is_not_silence(pair: Pair) -> None:
    """As when this machine was asleep, or had no time for us."""
    watch(pair, [])
    asked = wire.read_frame(pair.heard)
    assert asked is not None
    # PyDLL keeps the interpreter's lock: no thread of ours runs.
    ctypes.PyDLL(None).usleep(int((SILENCE_S + 0.5) * 1e6))
    assert not pair.is_lost.wait(0.5)
    pair.peer.sendall(wire.encode(asked.seq, {}))


def test_pings_measure_the_round_trip(pair: Pair) -> None:
    samples: list[float] = []
    measured = threading.Event()
    liveness = Liveness(
        pair.client,
        pace_s=lambda: 1.0,
        on_rtt=lambda rtt_s: (samples.append(rtt_s), measured.set()),  # type: ignore[func-returns-value]
    )
    liveness.start()
    frame = wire.read_frame(pair.heard)
    assert frame is not None
    assert frame.meta == {"op": "ping"}
    pair.peer.sendall(wire.encode(frame.seq, {}))
    assert measured.wait(PATIENCE_S)
    assert liveness.rtt_s == samples[0] < PATIENCE_S
    liveness.stop()


def test_far_peers_get_more_time() -> None:
    assert silence_limit_s(None) == silence_limit_s(0.01) == SILENCE_S
    assert silence_limit_s(2.0) == 8.0


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "ended"),
        (b"short", "broke the protocol"),
        (b"\xff" * 12, "broke the protocol"),
        (wire.HEADER.pack(1, 2, 0) + b"[]", "broke the protocol"),
    ],
)
def test_a_peer_that_ends_or_babbles(pair: Pair, data: bytes, words: str) -> None:
    replies = pair.ask(3)
    pair.peer.sendall(data)
    pair.peer.shutdown(socket.SHUT_WR)
    assert pair.is_lost.wait(PATIENCE_S)
    assert isinstance(pair.lost[0], AgentCrashed)
    assert words in pair.lost[0].message
    assert [reply.error for reply in replies] == [pair.lost[0]] * 3


def test_after_the_end_every_request_fails_at_once(pair: Pair) -> None:
    pair.client.close()
    reply = pair.client.request({"op": "list"})
    assert isinstance(reply.error, LinkLost)
    assert [one.error for one in pair.ask(1)] == [reply.error]
    with pytest.raises(LinkLost):
        pair.client.head({"op": "list"}, 0, lambda reply: None)


def test_a_request_has_its_own_patience(pair: Pair) -> None:
    reply = pair.client.request({"op": "list"}, timeout_s=0.05)
    assert isinstance(reply.error, AgentError)
    assert "did not answer 'list'" in reply.error.message
    assert not pair.client.is_lost


def test_many_threads_lose_the_client_once(pair: Pair) -> None:
    replies: list[Reply] = []
    threads = [
        threading.Thread(
            target=lambda: [
                pair.client.send({"op": "list"}, b"", replies.append) for _ in range(50)
            ],
            name="devsync-test-sender",
            daemon=True,
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    pair.peer.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(PATIENCE_S)
    assert pair.is_lost.wait(PATIENCE_S)
    pair.client.close()
    assert len(replies) == 200
    assert all(reply.error is not None for reply in replies)
