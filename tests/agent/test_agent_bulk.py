"""Large payloads in parts, and the loopback door they come through."""

from __future__ import annotations

import os
import random
import socket
import threading
from pathlib import Path

import pytest

from colab_devsync.agent import hashing, wire
from colab_devsync.errors import ProtocolMismatch
from colab_devsync.remote.client import Reply
from tests.agent.conftest import Start
from tests.agent.driver import PATIENCE_S, Driven, file_entry, tree_of
from tests.support.deltas import packed

pytestmark = pytest.mark.few

PIECE = 10_000
CONTENT = bytes(random.Random(1).randbytes(95_000))
OFFSETS = list(range(0, len(CONTENT), PIECE))


def part(agent: Driven, entry: wire.Entry, at: int, data: bytes = CONTENT) -> object:
    piece = data[at : at + PIECE]
    reply = agent.ask("part", piece, entry=entry, size=len(data), offset=at)
    return reply["result"]


def connect(agent: Driven, token: str) -> socket.socket:
    stream = socket.create_connection(("127.0.0.1", agent.hello.bulk_port), PATIENCE_S)
    stream.settimeout(PATIENCE_S)
    stream.sendall(bytes.fromhex(token))
    return stream


def test_parts_in_any_order(agent: Driven, root: Path) -> None:
    entry = file_entry("big", CONTENT)
    order = random.Random(2).sample(OFFSETS, len(OFFSETS))
    results = [part(agent, entry, at) for at in order]
    assert results == [None] * (len(order) - 1) + [[wire.OK, entry.hash, ""]]
    assert tree_of(root) == {"big": CONTENT}
    assert agent.temporaries() == []
    assert agent.digest_is({"big": CONTENT})


def test_a_piece_twice_is_no_harm(agent: Driven, root: Path) -> None:
    entry = file_entry("big", CONTENT)
    for at in OFFSETS[:-1]:
        assert part(agent, entry, at) is None
        assert part(agent, entry, at) is None
    assert part(agent, entry, OFFSETS[-1]) == [wire.OK, entry.hash, ""]
    # A late one: it is already so, and nothing is left lying about.
    assert part(agent, entry, OFFSETS[3]) == [wire.SAME, entry.hash, ""]
    assert tree_of(root) == {"big": CONTENT}
    assert agent.temporaries() == []


def test_overlapping_pieces_do_not_pass_for_all(agent: Driven, root: Path) -> None:
    entry = file_entry("big", CONTENT)
    for at in range(0, 50_000, 5_000):  # 10 pieces of 10,000: 100,000 bytes
        assert part(agent, entry, at) is None
    for at in OFFSETS[5:-1]:
        assert part(agent, entry, at) is None
    assert part(agent, entry, OFFSETS[-1]) == [wire.OK, entry.hash, ""]
    assert tree_of(root) == {"big": CONTENT}


def test_a_transfer_goes_on_after_a_kill(start: Start, root: Path) -> None:
    entry = file_entry("big", CONTENT)
    first = start()
    assert first.ask("have", entry=entry) == {"ranges": []}
    assert first.temporaries() == []
    for at in OFFSETS[::2]:
        assert part(first, entry, at) is None
    first.kill()
    second = start()
    have = second.ask("have", entry=entry)["ranges"]
    assert have == [[at, min(PIECE, len(CONTENT) - at)] for at in OFFSETS[::2]]
    results = [part(second, entry, at) for at in OFFSETS[1::2]]
    assert results[-1] == [wire.OK, entry.hash, ""]
    assert tree_of(root) == {"big": CONTENT}
    assert second.temporaries() == []


def test_all_there_already_needs_one_more_piece(start: Start, root: Path) -> None:
    """Killed when all pieces had arrived, before the rename."""
    entry = file_entry("big", CONTENT)
    fault = (
        "import os, colab_devsync_agent.parts as parts\n"
        "parts._Arriving.finish = lambda *a: os.kill(os.getpid(), 9)"
    )
    first = start(fault=fault)
    for at in OFFSETS[:-1]:
        part(first, entry, at)
    first.client.send(
        {"op": "part", "entry": entry, "size": len(CONTENT), "offset": OFFSETS[-1]},
        CONTENT[OFFSETS[-1] :],
        lambda reply: None,
    )
    assert first.died() == -9
    second = start()
    assert len(second.ask("have", entry=entry)["ranges"]) == len(OFFSETS)
    assert part(second, entry, 0) == [wire.OK, entry.hash, ""]
    assert tree_of(root) == {"big": CONTENT}


def test_parts_that_are_not_what_was_announced(agent: Driven, root: Path) -> None:
    agent.put("big", b"old")
    entry = file_entry("big", CONTENT, hashing.of_bytes(b"old"))
    wrong = CONTENT[:-1] + b"?" * (CONTENT[-1:] != b"?") + b"!" * (CONTENT[-1:] == b"?")
    results = [part(agent, entry, at, wrong) for at in OFFSETS]
    assert results[-1][0] == wire.BAD_HASH  # type: ignore[index]
    assert tree_of(root) == {"big": b"old"}
    assert agent.temporaries() == []
    assert agent.ask("have", entry=entry) == {"ranges": []}


def test_a_conflict_is_told_at_the_first_piece(agent: Driven, root: Path) -> None:
    (root / "big").write_bytes(b"theirs")
    entry = file_entry("big", CONTENT)
    held = hashing.of_bytes(b"theirs")
    assert part(agent, entry, 0) == [wire.CONFLICT, held, ""]
    assert part(agent, entry._replace(path="../x"), 0)[0] == wire.REFUSED  # type: ignore[index]
    assert agent.temporaries() == []


def test_pieces_outside_their_payload(agent: Driven) -> None:
    entry = file_entry("big", CONTENT)
    for size, offset in ((5, 0), (100, 95), (100, -1), (-1, 0)):
        with pytest.raises(ProtocolMismatch, match="does not lie"):
            agent.ask("part", b"123456", entry=entry, size=size, offset=offset)
    assert agent.temporaries() == []


def test_a_delta_in_parts(agent: Driven, root: Path) -> None:
    old = CONTENT
    new = old[:50_000] + os.urandom(60_000) + old[50_000:]
    payload = packed(old, new)
    agent.put("big", old)
    entry = file_entry("big", new, hashing.of_bytes(old))._replace(
        kind=wire.DELTA, base=hashing.of_bytes(old)
    )
    results = [part(agent, entry, at, payload) for at in range(0, len(payload), PIECE)]
    assert results[-1] == [wire.OK, entry.hash, ""]
    assert tree_of(root) == {"big": new}
    assert agent.temporaries() == []


def test_several_streams_at_once(agent: Driven, root: Path) -> None:
    files = {f"big{i}": bytes([i]) * 50_000 + CONTENT for i in range(4)}
    jobs = [
        (file_entry(path, data), at, data)
        for path, data in files.items()
        for at in range(0, len(data), PIECE)
    ]
    random.Random(3).shuffle(jobs)
    done = threading.Semaphore(0)
    results: list[object] = []

    def replied(reply: Reply) -> None:
        results.append(reply.meta()["result"])
        done.release()

    streams = [connect(agent, token) for token in agent.tokens]
    for number, (entry, at, data) in enumerate(jobs):
        piece, packed = wire.deflate(data[at : at + PIECE])
        meta = {
            "op": "part",
            "entry": entry,
            "size": len(data),
            "offset": at,
            "z": packed,
        }
        stream = streams[number % len(streams)]
        stream.sendall(agent.client.head(meta, len(piece), replied) + piece)
    for _ in jobs:
        assert done.acquire(timeout=PATIENCE_S)
    for stream in streams:
        stream.close()
    assert sum(result is not None for result in results) == len(files)
    assert tree_of(root) == files


# --- the door ---------------------------------------------------------------------


def test_a_token_opens_once(agent: Driven) -> None:
    token = agent.tokens[0]
    answered = threading.Event()
    with connect(agent, token) as first:
        first.sendall(
            agent.client.head({"op": "list"}, 0, lambda reply: answered.set())
        )
        assert answered.wait(PATIENCE_S)
        with connect(agent, token) as second:
            assert second.recv(1) == b""


def test_wrong_and_short_tokens_are_shown_out(agent: Driven) -> None:
    with connect(agent, "00" * 32) as stream:
        assert stream.recv(1) == b""
    with connect(agent, "00" * 5) as stream:
        stream.shutdown(socket.SHUT_WR)
        assert stream.recv(1) == b""


def test_who_shows_no_token_is_shown_out(start: Start) -> None:
    fault = "import colab_devsync_agent.listener as l; l._PATIENCE_S = 0.2"
    agent = start(fault=fault)
    with connect(agent, "") as stream:
        assert stream.recv(1) == b""


def test_more_tokens(agent: Driven) -> None:
    more = agent.ask("tokens", count=3)
    assert more["port"] == agent.hello.bulk_port
    assert len(set(more["tokens"]) | set(agent.tokens)) == 3 + len(agent.tokens)
    with connect(agent, more["tokens"][0]) as stream:
        stream.sendall(wire.encode(0, {"op": "nothing"}))
    assert agent.put("a", b"") == wire.OK


def test_a_stream_cut_inside_a_frame_harms_nothing(agent: Driven, root: Path) -> None:
    entry = file_entry("a", CONTENT)
    frame = wire.encode(7, {"op": "put", "entries": [entry]}, CONTENT)
    for cut in (1, 11, 12, 40, len(frame) - 1):
        with connect(agent, agent.tokens.pop()) as stream:
            stream.sendall(frame[:cut])
            stream.shutdown(socket.SHUT_WR)
            assert stream.recv(1) == b""
    assert tree_of(root) == {}
    assert agent.temporaries() == []
