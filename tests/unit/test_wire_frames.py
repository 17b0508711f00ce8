"""Frames survive the way, and nothing else passes for one."""

from __future__ import annotations

import io
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colab_devsync.agent import wire

metas = st.dictionaries(
    st.text(),
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists),
)
GOOD: dict[str, Any] = {
    "path": "a",
    "kind": "f",
    "hash": "0" * 32,
    "size": 3,
    "executable": None,
    "accept": [""],
    "length": 3,
    "base": "",
}


def read(data: bytes) -> wire.Frame | None:
    return wire.read_frame(io.BufferedReader(io.BytesIO(data)))  # type: ignore[arg-type]


@given(st.integers(0, 2**32 - 1), metas, st.binary())
def test_a_frame_comes_back(seq: int, meta: dict[str, Any], data: bytes) -> None:
    assert read(wire.encode(seq, meta, data)) == (seq, meta, data)


def test_names_that_are_not_utf8_come_back() -> None:
    frame = read(wire.encode(1, {"path": "raw-\udcff"}))
    assert frame is not None
    assert frame.meta == {"path": "raw-\udcff"}


def test_the_end_between_frames_is_clean() -> None:
    assert read(b"") is None


@given(st.binary(max_size=100), st.data())
def test_a_cut_frame_is_an_error(data: bytes, draw: st.DataObject) -> None:
    whole = wire.encode(1, {"op": "put"}, data)
    cut = draw.draw(st.integers(1, len(whole) - 1))
    with pytest.raises(wire.WireError, match="ended inside"):
        read(whole[:cut])


@settings(max_examples=300)
@given(st.binary(min_size=1, max_size=300))
def test_garbage_is_an_error_or_a_frame(data: bytes) -> None:
    try:
        frame = read(data)
    except wire.WireError:
        return
    assert frame is not None
    assert isinstance(frame.meta, dict)


@pytest.mark.parametrize(
    "lengths", [(wire.MAX_META + 1, 0), (2, wire.MAX_DATA + 1), (2**32 - 1, 2**32 - 1)]
)
def test_huge_announcements_are_refused_unread(lengths: tuple[int, int]) -> None:
    with pytest.raises(wire.WireError, match="announces"):
        read(wire.HEADER.pack(1, *lengths) + b"{}")


@pytest.mark.parametrize("text", [b"[]", b"1", b"{", b"\xff", b"", b"[" * 200_000])
def test_meta_that_is_no_object(text: bytes) -> None:
    with pytest.raises(wire.WireError, match="meta"):
        read(wire.HEADER.pack(1, len(text), 0) + text)


def test_what_the_peer_would_refuse_is_not_sent() -> None:
    with pytest.raises(wire.WireError, match="do not fit"):
        wire.encode(1, {"x": "y" * wire.MAX_META})


@given(st.binary(max_size=500).map(lambda piece: piece * 9))
def test_deflate_and_inflate(data: bytes) -> None:
    packed, is_packed = wire.deflate(data)
    assert len(packed) <= len(data)
    assert wire.inflate(wire.Frame(1, {"z": is_packed}, packed)) == data


@pytest.mark.parametrize(
    "data",
    [b"", b"garbage", zlib.compress(b"cut off")[:-1], zlib.compress(bytes(200 << 20))],
    ids=["empty", "garbage", "cut", "bomb"],
)
def test_damaged_data_is_an_error(data: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.inflate(wire.Frame(1, {"z": True}, data))


@pytest.mark.parametrize(
    "change",
    [
        {"path": 5},
        {"kind": "x"},
        {"hash": "../x"},
        {"hash": None},
        {"size": -1},
        {"size": "3"},
        {"executable": "yes"},
        {"accept": ""},
        {"length": -1},
        {"length": 1.5},
        {"base": None},
        {"kind": "d"},  # without a base
    ],
)
def test_malformed_entries(change: dict[str, Any]) -> None:
    assert wire.entries_of({"entries": [list(GOOD.values())]})
    with pytest.raises(wire.WireError, match="malformed entry"):
        wire.entries_of({"entries": [list({**GOOD, **change}.values())]})


@pytest.mark.parametrize("entries", [None, 5, [5], [[]], [["a"]], [list(range(9))]])
def test_malformed_lists_of_entries(entries: Any) -> None:
    with pytest.raises(wire.WireError, match="malformed entries"):
        wire.entries_of({"entries": entries})
