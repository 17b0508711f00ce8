"""Between offsets in a text and the positions an editor counts. Pure.

The unit is what client and server agreed on: UTF-16, UTF-8 or UTF-32 units.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable

from lsprotocol import types

from ..core.editing.outline import Span

_NEWLINE = re.compile(r"\r\n|\n|\r")


def _utf16(text: str) -> int:
    return len(text) + sum(1 for char in text if ord(char) > 0xFFFF)


def _utf8(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def units(encoding: str | None) -> Callable[[str], int]:
    """How long a text is in that encoding's units."""
    if encoding == types.PositionEncodingKind.Utf8:
        return _utf8
    return len if encoding == types.PositionEncodingKind.Utf32 else _utf16


def touches(one: types.Range, other: types.Range) -> bool:
    """Whether there is a line that both are on."""
    return one.start.line <= other.end.line and other.start.line <= one.end.line


class TextMap:
    """One text; positions out of it are taken for its nearest one."""

    def __init__(self, text: str, encoding: str | None) -> None:
        self.text = text
        self._units = units(encoding)
        ends = [(one.start(), one.end()) for one in _NEWLINE.finditer(text)]
        self._starts = [0, *(end for _, end in ends)]
        self._ends = [*(start for start, _ in ends), len(text)]

    def offset(self, position: types.Position) -> int:
        if position.line >= len(self._starts):
            return len(self.text)
        start, end = self._starts[position.line], self._ends[position.line]
        line = self.text[start:end]
        column = min(position.character, len(line))
        if line.isascii():
            return start + column
        while column and self._units(line[:column]) > position.character:
            column -= 1
        return start + column

    def position(self, offset: int) -> types.Position:
        line = bisect.bisect_right(self._starts, offset) - 1
        before = self.text[self._starts[line] : offset]
        return types.Position(line, self._units(before))

    def range(self, span: Span) -> types.Range:
        return types.Range(self.position(span.start), self.position(span.end))

    def at(self, line: int, column: int) -> types.Position:
        """Of a line and a column in characters."""
        if line >= len(self._starts):
            return types.Position(line, column)
        start = self._starts[line]
        end = min(start + column, self._ends[line])
        return types.Position(line, self._units(self.text[start:end]))
