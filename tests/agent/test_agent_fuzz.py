"""Whatever bytes come: an answer or an end, never a hang, nothing written outside."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from colab_devsync.agent import wire
from colab_devsync.errors import (
    AgentCrashed,
    AgentError,
    DevsyncError,
    ProtocolMismatch,
)
from colab_devsync.remote.bootstrap import command, payload
from tests.agent.conftest import Start
from tests.agent.driver import PATIENCE_S, Driven, file_entry, tree_of

OPS = ["put", "part", "have", "delete", "check", "look", "folder", "list", "read"]
OPS += ["machine", "tokens", "hello", "exec", "__init__", "serve", ""]
FIELDS = ["entries", "entry", "paths", "folders", "path", "offset", "size", "count"]
FIELDS += ["digest", "forget", "durable", "z", "root", "client", "version"]

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.text(max_size=8)
    | st.sampled_from(["", "..", "../x", "/etc/x", "a", "f", "l", "d", "0" * 32]),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
requests = st.fixed_dictionaries(
    {"op": st.sampled_from(OPS) | values},
    optional={field: values for field in FIELDS},
)


@pytest.mark.few
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(meta=requests, data=st.binary(max_size=40))
def test_any_request_gets_an_answer(
    agent: Driven, root: Path, meta: dict[str, Any], data: bytes
) -> None:
    if meta.get("op") == "tokens":
        meta["count"] = 1
    reply = agent.client.request(meta, data, PATIENCE_S)
    assert reply.error is None or isinstance(reply.error, AgentError)
    assert not agent.client.is_lost
    assert set(root.parent.iterdir()) == {root}


@pytest.mark.few
def test_an_unknown_operation_is_an_error_and_life_goes_on(agent: Driven) -> None:
    for op in ("nonsense", None, ["put"], {"a": 1}):
        with pytest.raises(ProtocolMismatch, match="unknown operation"):
            agent.ask(op)  # type: ignore[arg-type]
    assert agent.put("a", b"") == wire.OK


def end_of(root: Path, python: str, data: bytes) -> tuple[int, bytes, bytes]:
    """Exit status, output and last words of an agent that hears these bytes."""
    done = subprocess.run(
        ["/bin/sh", "-c", command(python)],
        input=payload() + data,
        capture_output=True,
        timeout=PATIENCE_S,
        cwd=root.parent,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"garbage in the place of a frame", b"announces"),
        (wire.HEADER.pack(1, 1 << 31, 0), b"announces"),
        (wire.HEADER.pack(1, 0, 1 << 31), b"announces"),
        (wire.HEADER.pack(1, 2, 0) + b"[]", b"not an object"),
        (wire.HEADER.pack(1, 2, 0) + b"{{", b"not JSON"),
        (wire.HEADER.pack(1, 90_000, 0) + b"[" * 90_000, b"not JSON"),
        (wire.encode(1, {"op": "ping"})[:-1], b"ended inside"),
        (b"\0\0", b"ended inside"),
    ],
)
@pytest.mark.few
def test_garbage_ends_the_agent_with_a_word(
    root: Path, python: str, data: bytes, words: bytes
) -> None:
    status, out, err = end_of(root, python, data)
    assert (status, out) == (70, wire.MAGIC)
    assert err.startswith(b"colab-devsync agent: ")
    assert words in err
    assert not root.exists()


def test_a_clean_end_is_silent(root: Path, python: str) -> None:
    status, out, err = end_of(root, python, wire.encode(1, {"op": "ping"}))
    assert (status, out, err) == (0, wire.MAGIC + wire.encode(1, {}), b"")


@pytest.mark.few
def test_the_client_is_told_the_last_words(agent: Driven) -> None:
    lost: list[DevsyncError] = []
    told = threading.Event()

    def on_lost(error: DevsyncError) -> None:
        lost.append(error)
        told.set()

    agent.client.on_lost = on_lost
    agent.client.write(b"garbage in the place of a frame")
    assert told.wait(PATIENCE_S)
    assert isinstance(lost[0], AgentCrashed)
    assert "colab-devsync agent: a frame announces" in lost[0].message
    assert agent.died() == 70


@pytest.mark.few
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.binary(max_size=200), cut=st.integers(0, 300))
def test_garbage_on_a_bulk_stream_ends_that_stream_only(
    agent: Driven, root: Path, data: bytes, cut: int
) -> None:
    good = wire.encode(9, {"op": "put", "entries": [file_entry("../x", b"x")]}, b"x")
    token = agent.ask("tokens", count=1)["tokens"][0]
    address = ("127.0.0.1", agent.hello.bulk_port)
    with socket.create_connection(address, PATIENCE_S) as stream:
        stream.settimeout(PATIENCE_S)
        stream.sendall(bytes.fromhex(token) + good[:cut] + data)
        stream.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):  # it left without reading all
            assert stream.recv(1) == b""
    assert agent.look("x") == [""]
    assert tree_of(root.parent) == tree_of_state(root)


def tree_of_state(root: Path) -> dict[str, bytes]:
    """What may stand there: our folder only."""
    return {
        path: data
        for path, data in tree_of(root.parent).items()
        if path.startswith("root/.colab-devsync/")
    }


@pytest.mark.few
def test_a_reply_too_large_is_an_error(start: Start) -> None:
    fault = "import colab_devsync_agent.wire as wire\nwire.MAX_META = 20_000"
    agent = start(fault=fault)
    for number in range(100):
        agent.put(f"{number}-" + "n" * 240, b"")
    with pytest.raises(AgentError, match="do not fit a frame"):
        agent.ask("list")
    assert agent.put("a", b"") == wire.OK
