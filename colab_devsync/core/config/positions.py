"""Where each key and value of a valid TOML document stands.

tomli gives values without positions, and a TOML parser that keeps them would be a
second opinion on syntax. So: tomli judges, and this scanner only finds places in text
that tomli accepted; on other text its answer means nothing. Pure; any thread.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import tomli

Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_INDENT = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\r\n]+")


@dataclass(frozen=True)
class Span:
    """Lines and columns count from 0; columns count characters; the end is after."""

    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True)
class Places:
    """Spans by path: ("pull", 0, "every") is `every` of the first `[[pull]]`.

    `keys` has the name of a key, `values` what stands right of "=", or the header of
    a table. A table that only dotted names imply has no value of its own.
    """

    keys: Mapping[Path, Span]
    values: Mapping[Path, Span]

    def key(self, path: Path) -> Span:
        """The name at `path`, or of the nearest table around it."""
        return self._nearest(path, self.keys, self.values)

    def value(self, path: Path) -> Span:
        """The value at `path`, or the nearest thing around it."""
        return self._nearest(path, self.values, self.keys)

    @staticmethod
    def _nearest(path: Path, *places: Mapping[Path, Span]) -> Span:
        for length in range(len(path), 0, -1):
            for spans in places:
                if path[:length] in spans:
                    return spans[path[:length]]
        return Span(0, 0, 0, 0)


NOWHERE = Places({}, {})


def locate(text: str) -> Places:
    """The places of everything in `text`, which tomli must have accepted."""
    scanner = _Scanner(text)
    scanner.document()
    starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def span(offsets: tuple[int, int]) -> Span:
        line, end_line = (bisect.bisect_right(starts, at) - 1 for at in offsets)
        return Span(
            line, offsets[0] - starts[line], end_line, offsets[1] - starts[end_line]
        )

    return Places(
        {path: span(offsets) for path, offsets in scanner.keys.items()},
        {path: span(offsets) for path, offsets in scanner.values.items()},
    )


class _Scanner:
    """Walks the text once and notes offsets (start, end) by path."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.keys: dict[Path, tuple[int, int]] = {}
        self.values: dict[Path, tuple[int, int]] = {}
        self._repeated: dict[Path, int] = {}  # arrays of tables: how many so far

    def document(self) -> None:
        table: Path = ()
        while self._skip(_BLANK):
            if self._peek() == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> Path:
        start = self.at
        repeated = self.text.startswith("[[", self.at)
        self.at += 2 if repeated else 1
        path: Path = ()
        name = start, start
        for part, name in self._key_parts():
            # `[a.b]` after `[[a]]` is about the last element of a.
            path = (*self._last_element(path), part)
            self.keys.setdefault(path, name)
        self.at = self.text.index("]", self.at) + (2 if repeated else 1)
        if repeated:
            count = self._repeated.get(path, 0)
            self._repeated[path] = count + 1
            path = (*path, count)
            self.keys[path] = name
        self.values[path] = start, self.at
        return path

    def _last_element(self, path: Path) -> Path:
        count = self._repeated.get(path)
        return path if count is None else (*path, count - 1)

    def _pair(self, table: Path) -> None:
        path = table
        for part, name in self._key_parts():
            path = (*path, part)
            self.keys.setdefault(path, name)
        self.at = self.text.index("=", self.at) + 1
        self._skip(_INDENT)
        self._value(path)

    def _key_parts(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """The parts of a dotted key from here, each with its offsets."""
        while True:
            self._skip(_INDENT)
            start = self.at
            self._skip(_STRING if self._peek() in "\"'" else _BARE_KEY)
            raw = self.text[start : self.at]
            yield _unquoted(raw), (start, self.at)
            self._skip(_INDENT)
            if self._peek() != ".":
                return
            self.at += 1

    def _value(self, path: Path) -> None:
        start = self.at
        opening = self._peek()
        if opening in "[{":
            self.at += 1
            index = 0
            while self._skip(_BLANK) and self._peek() not in "]}":
                if self._peek() == ",":
                    self.at += 1
                elif opening == "{":
                    self._pair(path)
                else:
                    self._value((*path, index))
                    index += 1
            self.at += 1
        elif opening in "\"'":
            self._skip(_STRING)
        else:
            self._skip(_SCALAR)
            self.at = start + len(self.text[start : self.at].rstrip())
        self.values[path] = start, self.at

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        """Moves past `pattern`; False at the end of the text."""
        found = pattern.match(self.text, self.at)
        if found is not None:
            self.at = found.end()
        return self.at < len(self.text)


def _unquoted(raw: str) -> str:
    if raw[:1] not in ('"', "'"):
        return raw
    value = tomli.loads(f"key = {raw}")["key"]
    return str(value)
