"""Headers, keys and values of a TOML text that may be half-typed or broken.

tomli refuses the very texts in which completion is wanted. This scanner takes every
text: what it cannot make sense of ends at the line's end, and a line that looks like a
header or a key ends a list that was never closed. Offsets count characters. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

Path = tuple[str | int, ...]

_BLANK = re.compile(r"[ \t\r]*")
_HEADER = re.compile(r"\[\[?[^\]\r\n#=]*\]{0,2}")
_NAME = re.compile(r"[A-Za-z0-9_-]+|\"(?:\\.|[^\"\\\n])*\"|'[^'\n]*'")
_DOTTED = re.compile(rf"(?:{_NAME.pattern})(?:[ \t]*\.(?:[ \t]*(?:{_NAME.pattern}))?)*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?(?:"""|\Z)'
    r"|'''.*?(?:'''|\Z)"
    r'|"(?:\\[^\r\n]|[^"\\\r\n])*\\?"?'
    r"|'[^'\r\n]*'?",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\r\n]*")
# Lists of this file hold texts; a line like these is never one of their elements.
_NEW_START = re.compile(rf"[ \t]*(?:\[\[?[ \t]*[A-Za-z_]|(?:{_DOTTED.pattern})[ \t]*=)")
_DEEPEST = 20


@dataclass(frozen=True)
class Span:
    """Offsets; the end is after."""

    start: int
    end: int

    def has(self, offset: int) -> bool:
        """Ends count: a cursor stands between two characters."""
        return self.start <= offset <= self.end


@dataclass(frozen=True)
class Header:
    """`[a.b]`; `[[a]]` when `repeated`, and then its path ends with its number."""

    path: Path
    span: Span
    repeated: bool


@dataclass(frozen=True)
class Pair:
    """`key = value`, or as much of it as is there. `value` is None before a "="."""

    path: Path  # of the value, from the root
    names: int  # how many of the path's last parts its own dotted key has
    key: Span
    value: Span | None
    tokens: tuple[Span, ...] = ()  # texts and scalars of the value, quotes included
    is_inline: bool = False  # within `{ … }`

    @property
    def table(self) -> Path:
        return self.path[:-1]


@dataclass(frozen=True)
class Outline:
    text: str
    headers: tuple[Header, ...]
    pairs: tuple[Pair, ...]  # outer before inner, in the text's order
    comments: tuple[Span, ...]

    def header_before(self, offset: int) -> Header | None:
        """The table that `offset` is in."""
        before = [one for one in self.headers if one.span.start <= offset]
        return before[-1] if before else None

    def section_end(self, header: Header) -> int:
        """Where the next header begins."""
        later = (one.span.start for one in self.headers)
        return next((at for at in later if at > header.span.start), len(self.text))

    def under(self, table: Path) -> Iterator[Pair]:
        """The pairs right in `table`, wherever they are written."""
        return (one for one in self.pairs if one.table == table)

    def names_in(self, table: Path) -> set[str]:
        """What `table` has already: keys and tables, also of dotted names."""
        depth = len(table)
        paths = [one.path for one in self.headers] + [one.path for one in self.pairs]
        inside = (path for path in paths if path[:depth] == table)
        return {str(path[depth]) for path in inside if len(path) > depth}

    def string(self, path: Path) -> str | None:
        """The text at `path`, if one is there."""
        for pair in self.pairs:
            if pair.path == path and pair.tokens:
                token = pair.tokens[0]
                return content(self.text[token.start : token.end])
        return None

    def line_of(self, offset: int) -> Span:
        """The whole line, with its newline."""
        start = self.text.rfind("\n", 0, offset) + 1
        end = self.text.find("\n", offset)
        return Span(start, len(self.text) if end < 0 else end + 1)


@lru_cache(maxsize=8)
def outline(text: str) -> Outline:
    """Remembered: an editor asks several questions about the same text."""
    scanner = _Scanner(text)
    scanner.document()
    return Outline(
        text,
        tuple(scanner.headers),
        tuple(sorted(scanner.pairs, key=lambda one: one.key.start)),
        tuple(scanner.comments),
    )


def content(token: str) -> str:
    """What is between the quotes of a token; escapes stay as they are written."""
    for quote in ('"""', "'''", '"', "'"):
        if token.startswith(quote):
            inner = token[len(quote) :]
            return inner[: -len(quote)] if inner.endswith(quote) else inner
    return token


@dataclass
class _Scanner:
    text: str
    at: int = 0
    headers: list[Header] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    comments: list[Span] = field(default_factory=list)
    counts: dict[Path, int] = field(default_factory=dict)

    def document(self) -> None:
        table: Path = ()
        while self.at < len(self.text):
            self._skip(_BLANK)
            start = self.text[self.at : self.at + 1]
            if start == "[":
                table = self._header()
            elif start not in ("", "\n", "#"):
                self._pair(table, depth=0)
            self._rest_of_line()

    def _header(self) -> Path:
        start = self.at
        raw = self._skip(_HEADER)
        repeated = raw.startswith("[[")
        path: Path = ()
        for name in _names(raw.strip("[] \t\r")):
            path = (*self._newest(path), name)
        if repeated:
            self.counts[path] = self.counts.get(path, -1) + 1
            path = self._newest(path)
        span = Span(start, start + len(raw.rstrip()))
        self.headers.append(Header(path, span, repeated))
        return path

    def _newest(self, path: Path) -> Path:
        """`[a.b]` after `[[a]]` is about the last element of a."""
        count = self.counts.get(path)
        return path if count is None else (*path, count)

    def _pair(self, table: Path, depth: int) -> None:
        start = self.at
        names = _names(self._skip(_DOTTED))
        if not names:
            self.at += 1
            return
        key, path = Span(start, self.at), (*table, *names)
        self._skip(_BLANK)
        if self.text[self.at : self.at + 1] != "=":
            self.pairs.append(Pair(path, len(names), key, None, is_inline=depth > 0))
            return
        self.at += 1
        equals = self.at
        self._skip(_BLANK)
        tokens: list[Span] = []
        self._value(path, tokens, depth)
        value = Span(equals, self.at)
        self.pairs.append(
            Pair(path, len(names), key, value, tuple(tokens), is_inline=depth > 0)
        )

    def _value(self, path: Path, tokens: list[Span], depth: int) -> None:
        start = self.at
        opening = self.text[start : start + 1]
        if opening in ("[", "{") and depth < _DEEPEST:
            self.at += 1
            self._elements(path, tokens, depth + 1, "]" if opening == "[" else "}")
            return
        if opening in ('"', "'"):
            self._skip(_STRING)
            tokens.append(Span(start, self.at))
            return
        raw = self._skip(_SCALAR)
        # TOML's blanks alone: other white space, a pasted U+00A0 say, is a character,
        # and a scalar of nothing else must not end where it began.
        self.at = start + len(raw.rstrip(" \t\r"))
        if self.at > start:
            tokens.append(Span(start, self.at))

    def _elements(
        self, path: Path, tokens: list[Span], depth: int, closing: str
    ) -> None:
        """Up to `closing`, or where a list that was never closed seems to end."""
        while self.at < len(self.text):
            self._skip(_BLANK)
            now = self.text[self.at : self.at + 1]
            if now == closing:
                self.at += 1
                return
            if now in ("]", "}"):
                return
            if now == "\n":
                if closing == "}" or _NEW_START.match(self.text, self.at + 1):
                    return
                self.at += 1
            elif now == "#":
                self._comment()
            elif now == ",":
                self.at += 1
            elif now and closing == "}":
                self._pair(path, depth)
            elif now:
                self._value(path, tokens, depth)

    def _rest_of_line(self) -> None:
        end = self.text.find("\n", self.at)
        end = len(self.text) if end < 0 else end
        mark = self.text.find("#", self.at, end)
        if mark >= 0:
            self.comments.append(Span(mark, end))
        self.at = end + 1

    def _comment(self) -> None:
        end = self.text.find("\n", self.at)
        end = len(self.text) if end < 0 else end
        self.comments.append(Span(self.at, end))
        self.at = end

    def _skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            return ""
        self.at = found.end()
        return found[0]


def _names(dotted: str) -> list[str]:
    return [content(found[0]) for found in _NAME.finditer(dotted)]
