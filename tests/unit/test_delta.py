"""Deltas: always right, small where they can be, never slow."""

from __future__ import annotations

import io
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colab_devsync.agent.delta import DeltaError, apply, pack
from colab_devsync.core import delta
from tests.support.deltas import packed, signed

TEXT = b"".join(b"%d: the quick brown fox\n" % i for i in range(190_000))  # 5 MB
NOISE = random.Random(1).randbytes(5 << 20)
SMALL_OPS = 200  # bytes of instructions


def applied(payload: bytes, old: bytes) -> bytes:
    out = bytearray()
    apply(payload, io.BytesIO(old), out.extend)
    return bytes(out)


# --- right ------------------------------------------------------------------------

blocks = st.builds(
    lambda seed, size, kinds: bytes(random.Random(seed).choices(range(kinds), k=size)),
    st.integers(0, 3),
    st.sampled_from([0, 1, 15, 16, 100, delta.BLOCK - 1, delta.BLOCK, 30_000]),
    st.sampled_from([1, 2, 256]),  # from all zeros to noise
)
contents = st.lists(blocks, max_size=6).map(b"".join)
edits = st.lists(
    st.tuples(
        st.sampled_from(["insert", "delete", "replace", "append", "cut", "copy"]),
        st.integers(0, 200_000),
        st.integers(0, 20_000),
        blocks,
    ),
    max_size=5,
)


def edited(data: bytes, steps: list[tuple[str, int, int, bytes]]) -> bytes:
    for kind, at, size, fresh in steps:
        at = min(at, len(data))
        if kind == "insert":
            data = data[:at] + fresh + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + size :]
        elif kind == "replace":
            data = data[:at] + fresh + data[at + len(fresh) :]
        elif kind == "append":
            data += fresh
        elif kind == "cut":
            data = data[:at]
        else:
            data = data[:at] + data[at : at + size] * 2 + data[at + size :]
    return data


@settings(max_examples=150, deadline=None)
@given(contents, edits)
def test_a_delta_makes_the_new_content(
    old: bytes, steps: list[tuple[str, int, int, bytes]]
) -> None:
    new = edited(old, steps)
    assert applied(packed(old, new), old) == new


@settings(max_examples=100, deadline=None)
@given(contents, contents)
def test_unrelated_contents_too(old: bytes, new: bytes) -> None:
    assert applied(packed(old, new), old) == new


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=50))
def test_garbage_is_told_apart(payload: bytes, base: bytes) -> None:
    out = bytearray()
    try:
        apply(payload, io.BytesIO(base), out.extend)
    except DeltaError:
        return
    assert set(out) <= set(payload) | set(base)


@pytest.mark.parametrize(
    "ops", [[[0, 10]], [[5]], [[-1, 2]], [[1.5]], [["1"]], [[]], [[1, 2, 3]], [7], 7]
)
def test_instructions_that_do_not_fit(ops: list[list[int]]) -> None:
    with pytest.raises(DeltaError):
        applied(pack(ops, b"abcd"), b"base")


# --- small ------------------------------------------------------------------------


@pytest.mark.parametrize("old", [TEXT, NOISE], ids=["text", "noise"])
@pytest.mark.parametrize("where", [0, 3, 2_000_000, -40, -1])
@pytest.mark.parametrize("change", ["insert", "delete", "replace"])
def test_a_changed_line_costs_two_blocks_at_most(
    old: bytes, where: int, change: str
) -> None:
    at = where % len(old)
    line = b"another line, said the fox\n"
    kept = {"insert": 0, "delete": 27, "replace": len(line)}[change]
    new = old[:at] + (b"" if change == "delete" else line) + old[at + kept :]
    payload = packed(old, new)
    assert len(payload) <= 2 * delta.BLOCK + len(line) + SMALL_OPS
    assert applied(payload, old) == new


@pytest.mark.parametrize("size", [100, 10_000, 500_000, 2_000_000])
def test_what_was_taken_out_costs_a_block(size: int) -> None:
    # (Where every line looks like the others, only small gaps are found.)
    for old in (NOISE, TEXT) if size <= 10_000 else (NOISE,):
        new = old[:1_000_000] + old[1_000_000 + size :]
        assert len(packed(old, new)) <= 2 * delta.BLOCK + SMALL_OPS


@pytest.mark.parametrize("size", [100, 10_000, 500_000, 1_000_000])
def test_what_was_put_in_costs_itself_and_a_block(size: int) -> None:
    fresh = random.Random(2).randbytes(size)
    new = NOISE[:1_000_000] + fresh + NOISE[1_000_000:]
    assert len(packed(NOISE, new)) <= size + 2 * delta.BLOCK + SMALL_OPS


def test_appending_costs_what_was_appended() -> None:
    assert len(packed(TEXT, TEXT + b"more\n" * 100)) <= 500 + delta.BLOCK + SMALL_OPS


def test_what_was_replaced_in_many_places() -> None:
    new = bytearray(NOISE)
    for at in range(0, len(new), 20 * delta.BLOCK):
        new[at : at + 4] = b"!!!!"
    places = len(new) // (20 * delta.BLOCK) + 1
    assert len(packed(NOISE, bytes(new))) <= places * (delta.BLOCK + 40)


# --- never slow -------------------------------------------------------------------


class Counting:
    """bytes.find that counts calls and the bytes it may have looked at."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.calls = 0
        self.scanned = 0

    def __call__(self, needle: bytes, start: int, end: int) -> int:
        found = self._data.find(needle, start, end)
        self.calls += 1
        self.scanned += (found if found >= 0 else max(end, start)) - start
        return found


SIZE = 32 << 20
ZEROS = bytes(SIZE)
ONES = b"\1" * SIZE
STRIPES = (bytes(delta.BLOCK) + b"\1" * delta.BLOCK) * (SIZE // delta.BLOCK // 2)
SHIFTED = b"x" + STRIPES


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (ZEROS, ONES),
        (ZEROS, b"\1" + ZEROS),
        (ZEROS, STRIPES),
        (STRIPES, ZEROS),
        (STRIPES, SHIFTED),
        (ONES + NOISE, NOISE + ONES),
        (NOISE * 6, TEXT * 6),
    ],
    ids=["zeros-ones", "shifted", "to-stripes", "from", "stripes", "swapped", "other"],
)
def test_low_entropy_is_no_trap(old: bytes, new: bytes) -> None:
    find = Counting(new)
    ops, literals = delta.make(signed(old), memoryview(new), find, signed(new))
    # Per block of the new content: a few searches, each of a few blocks' length.
    count = len(new) // delta.BLOCK
    assert find.calls <= 60 + 2 * count
    assert find.scanned <= 40 * len(new)
    payload = pack(ops, b"".join(new[start:end] for start, end in literals))
    assert applied(payload, old) == new


def test_an_insertion_in_every_second_block() -> None:
    pieces = [
        NOISE[at : at + 2 * delta.BLOCK] for at in range(0, len(NOISE), 2 * delta.BLOCK)
    ]
    new = b"".join(piece[:100] + b"+" + piece[100:] for piece in pieces)
    find = Counting(new)
    _, literals = delta.make(signed(NOISE), memoryview(new), find, signed(new))
    assert sum(end - start for start, end in literals) <= 0.52 * len(new)
    assert find.scanned <= 20 * len(new)
