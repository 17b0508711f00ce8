"""JSON with comments, read with positions. Pure.

The text is never written anew from values: editors' settings carry comments and an
order that are their owner's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .model import CannotMerge

_BLANK = re.compile(r"(?:[ \t\r\n\ufeff]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_SCALAR = re.compile(r"-?[0-9][0-9.eE+-]*|true|false|null")


@dataclass(frozen=True)
class Node:
    """One value; the text between `start` and `end` is it, brackets included."""

    start: int
    end: int
    value: Any  # of a scalar; None for containers
    members: Mapping[str, Node] | None = None  # of an object
    items: tuple[Node, ...] | None = None  # of a list

    @property
    def children(self) -> tuple[Node, ...]:
        if self.members is not None:
            return tuple(self.members.values())
        return self.items or ()

    def plain(self) -> Any:
        if self.members is not None:
            return {key: one.plain() for key, one in self.members.items()}
        if self.items is not None:
            return [one.plain() for one in self.items]
        return self.value


def parse(text: str) -> Node:
    """The one value of the text. CannotMerge names the line of a mistake."""
    reader = _Reader(text)
    try:
        node = reader.value(reader.blank(0))
    except RecursionError as exc:
        raise CannotMerge("it is nested too deeply") from exc
    if reader.blank(node.end) != len(text):
        raise reader.mistake(node.end, "the end")
    return node


def skip_blank(text: str, at: int) -> int:
    """Behind white space and comments."""
    match = _BLANK.match(text, at)
    return match.end() if match else at


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text

    def blank(self, at: int) -> int:
        return skip_blank(self._text, at)

    def mistake(self, at: int, expected: str) -> CannotMerge:
        line = self._text.count("\n", 0, at) + 1
        return CannotMerge(f"line {line} is not JSON: expected {expected}")

    def value(self, at: int) -> Node:
        first = self._text[at : at + 1]
        if first == "{":
            return self._object(at)
        if first == "[":
            return self._list(at)
        match = _STRING.match(self._text, at) or _SCALAR.match(self._text, at)
        if match is None:
            raise self.mistake(at, "a value")
        try:
            return Node(at, match.end(), json.loads(match[0]))
        except ValueError as exc:
            raise self.mistake(at, "a value") from exc

    def _object(self, start: int) -> Node:
        members: dict[str, Node] = {}
        at = self.blank(start + 1)
        while self._text[at : at + 1] != "}":
            match = _STRING.match(self._text, at)
            if match is None:
                raise self.mistake(at, "a key or }")
            key = json.loads(match[0])
            at = self.blank(match.end())
            if self._text[at : at + 1] != ":":
                raise self.mistake(at, ":")
            if key in members:
                raise self.mistake(at, f"{match[0]} only once")
            members[key] = self.value(self.blank(at + 1))
            at = self._next(members[key].end, "}")
        return Node(start, at + 1, None, members=members)

    def _list(self, start: int) -> Node:
        items: list[Node] = []
        at = self.blank(start + 1)
        while self._text[at : at + 1] != "]":
            items.append(self.value(at))
            at = self._next(items[-1].end, "]")
        return Node(start, at + 1, None, items=tuple(items))

    def _next(self, at: int, close: str) -> int:
        """At the next element or the bracket; a comma before that may stand."""
        at = self.blank(at)
        if self._text[at : at + 1] == ",":
            return self.blank(at + 1)
        if self._text[at : at + 1] != close:
            raise self.mistake(at, f", or {close}")
        return at
