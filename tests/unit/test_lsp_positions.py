"""Offsets and positions, in the units that editors count in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types

from colab_devsync.core.editing.outline import Span
from colab_devsync.lsp.positions import TextMap

ENCODINGS = ["utf-8", "utf-16", "utf-32"]


@pytest.mark.parametrize(
    ("encoding", "column"), [("utf-8", 7), ("utf-16", 4), ("utf-32", 3)]
)
def test_each_encoding_counts_its_own_units(encoding: str, column: int) -> None:
    text = TextMap("first\na\xe4\U0001f600b\n", encoding)
    position = types.Position(1, column)
    assert text.position(9) == position
    assert text.offset(position) == 9
    assert text.at(1, 3) == position


def test_positions_out_of_the_text_mean_its_nearest_place() -> None:
    text = TextMap("ab\r\ncd", None)
    assert text.offset(types.Position(0, 99)) == 2
    assert text.offset(types.Position(9, 0)) == 6
    assert text.range(Span(4, 6)) == types.Range(
        types.Position(1, 0), types.Position(1, 2)
    )


@given(
    st.text(alphabet="ab\xe4\u20ac\U0001f600\n\r", max_size=30),
    st.sampled_from(ENCODINGS),
)
def test_there_and_back_again(text: str, encoding: str) -> None:
    places = TextMap(text, encoding)
    for offset in range(len(text) + 1):
        if text[offset - 1 : offset + 1] != "\r\n":  # nothing stands inside of one
            assert places.offset(places.position(offset)) == offset
