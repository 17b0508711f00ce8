"""What stands at one place of a half-typed configuration. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ..config.introspect import KeyInfo, TableInfo, tables
from .outline import Header, Outline, Pair, Path, Span

_PROFILES = "profiles"


@dataclass(frozen=True)
class HeaderPlace:
    header: Header


@dataclass(frozen=True)
class KeyPlace:
    """A key, or where one could be typed."""

    table: Path  # what the key belongs to, dotted names before it included
    span: Span  # the last part of the name; empty on a blank line
    pair: Pair | None
    at_line_start: bool  # a header could stand here as well


@dataclass(frozen=True)
class ValuePlace:
    """A value, or one element of a list."""

    pair: Pair
    span: Span  # the token, quotes included; empty where none is typed yet
    in_list: bool


Place = HeaderPlace | KeyPlace | ValuePlace


def place_at(found: Outline, offset: int) -> Place | None:
    """None in comments, in junk, and behind a finished value."""
    if any(one.start < offset <= one.end for one in found.comments):
        return None
    for header in found.headers:
        if header.span.start < offset <= header.span.end:
            return HeaderPlace(header)
    for pair in reversed(found.pairs):  # inner ones come later
        if pair.key.has(offset):
            return _in_key(found, pair, offset)
        if pair.value is not None and _reaches(found, pair, pair.value, offset):
            return _in_value(found, pair, offset)
    return _on_blank(found, offset)


def _in_key(found: Outline, pair: Pair, offset: int) -> KeyPlace:
    typed = found.text[pair.key.start : offset]
    before = typed.count(".")
    start = pair.key.start + typed.rfind(".") + 1
    end = found.text.find(".", offset, pair.key.end)
    table = pair.path[: len(pair.path) - pair.names + before]
    span = Span(start, pair.key.end if end < 0 else end)
    at_start = not pair.is_inline and not before and pair.value is None
    return KeyPlace(table, span, pair, at_start)


def _reaches(found: Outline, pair: Pair, value: Span, offset: int) -> bool:
    """Whether `offset` is in the value, or in blanks where it could go on."""
    if value.start <= offset <= value.end:
        return True
    gap = found.text[value.end : offset]
    missing = value.start == value.end or not pair.tokens
    opened = found.text[value.start : value.end].strip()[:1] in ("[", "{")
    return offset > value.end and not gap.strip(" \t") and missing and not opened


def _in_value(found: Outline, pair: Pair, offset: int) -> Place | None:
    text = found.text
    for token in pair.tokens:
        quote = text[token.start]
        quoted = quote in "\"'"
        closed = quoted and token.end - token.start > 1 and text[token.end - 1] == quote
        inside = token.start < offset and (offset < token.end or not closed)
        if token.has(offset) and (inside or not quoted):
            return ValuePlace(pair, token, _in_brackets(text, pair, offset, "["))
    value = pair.value
    assert value is not None
    if _in_brackets(text, pair, offset, "{"):
        return KeyPlace(pair.path, Span(offset, offset), None, at_line_start=False)
    in_list = _in_brackets(text, pair, offset, "[")
    if pair.tokens and not in_list:
        return None  # behind the value
    before = text[value.start : offset].rstrip()
    if in_list and before[-1:] not in ("[", ","):
        closed = text[value.start : value.end].rstrip().endswith("]")
        return None if closed else _on_blank(found, offset)  # behind an element
    if in_list and text[offset : value.end].lstrip(" \t")[:1] in ('"', "'"):
        return None  # before an element, on its line: a comma would be missing
    return ValuePlace(pair, Span(offset, offset), in_list)


def _in_brackets(text: str, pair: Pair, offset: int, opening: str) -> bool:
    assert pair.value is not None
    typed = text[pair.value.start : pair.value.end].lstrip()
    if not typed.startswith(opening):
        return False
    start = pair.value.end - len(typed)
    closing = {"[": "]", "{": "}"}[opening]
    is_closed = typed.endswith(closing) and len(typed) > 1
    return start < offset and (not is_closed or offset < pair.value.end)


def _on_blank(found: Outline, offset: int) -> KeyPlace | None:
    line = found.line_of(offset)
    if found.text[line.start : line.end].strip():
        return None
    header = found.header_before(offset)
    table = header.path if header else ()
    return KeyPlace(table, Span(offset, offset), None, at_line_start=True)


# --- what a path means ----------------------------------------------------------------


def split_profile(path: Path) -> tuple[Path, Path]:
    """("profiles", "gpu2") and the rest; () and all of it outside of profiles."""
    if path[:1] == (_PROFILES,):
        return path[:2], path[2:]
    return (), path


def table_at(path: Path) -> TableInfo | None:
    """The table that a path of the document is; the root's has no name."""
    profile, rest = split_profile(path)
    if len(profile) == 1:
        return None
    names = [part for part in rest if isinstance(part, str)]
    if len(names) > 1:
        return None
    return tables().get(names[0] if names else "")


def key_at(path: Path) -> KeyInfo | None:
    """The key whose value stands at `path`, or at an element of it."""
    for length in (len(path), len(path) - 1):
        if length < 1:
            return None
        table, name = table_at(path[: length - 1]), path[length - 1]
        key = table.keys.get(name) if table and isinstance(name, str) else None
        if key is not None and (length == len(path) or key.kind in ("table", "list")):
            return key
    return None


def provider_of(found: Outline, table: Path) -> str:
    """The provider that a `[link]` table is about: its own, the base's, the default."""
    for path in ((*table, "provider"), ("link", "provider")):
        text = found.string(path)
        if text:
            return text
    return str(tables()["link"].keys["provider"].default)
