"""Pieces of a file on the VM: whatever is sent twice, none of them overlap."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

if sys.platform == "win32":
    pytest.skip("the agent runs on POSIX machines", allow_module_level=True)

from colab_devsync.agent import arrivals
from colab_devsync.engine.pushes import pieces

SIZE = 60
PIECES = st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, 20)), max_size=30)


@given(PIECES)
def test_what_is_noted_is_what_was_written_last(written: list[tuple[int, int]]) -> None:
    noted = arrivals.Noted()
    content: list[int | None] = [None] * (SIZE + 20)
    for number, (offset, length) in enumerate(written):
        noted.note(offset, (length, f"{number:032x}"))
        content[offset : offset + length] = [number] * length
    end = 0
    for at in sorted(noted.pieces):
        length, found = noted.pieces[at]
        assert at >= end
        assert set(content[at : at + length]) == {int(found, 16)}
        end = at + length
    if written:
        last, length = written[-1]
        assert noted.pieces[last][0] == length
    assert arrivals.digest(noted.pieces) == pieces.digest(noted.pieces)
    filled = dict(noted.pieces)
    for start, stop in pieces.gaps(noted.pieces, SIZE + 20):
        filled[start] = (stop - start, "")
    assert arrivals.is_whole(filled, SIZE + 20)
