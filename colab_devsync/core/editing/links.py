"""Files that a configuration names, and where. Pure: it does not look for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .cursor import split_profile, table_at
from .outline import Path, Span, content, outline

Place = Literal["project", "home"]

_FILES: Mapping[tuple[str, ...], Place] = {
    ("link", "identity_file"): "home",
    ("run", "entry"): "project",
    ("pull", "local"): "project",
}


@dataclass(frozen=True)
class FileLink:
    """`name` as it is written: relative to the project, or with "~"."""

    key: str  # dotted: "run.entry"
    name: str
    place: Place
    span: Span  # without the quotes


def file_links(text: str) -> tuple[FileLink, ...]:
    found = []
    for pair in outline(text).pairs:
        names = _names(pair.path)
        place = _FILES.get(names)
        if place is None or len(pair.tokens) != 1:
            continue
        token = pair.tokens[0]
        name = content(text[token.start : token.end])
        quote = len(token_quote(text[token.start : token.end]))
        if name and quote and "\\" not in name:
            span = Span(token.start + quote, token.start + quote + len(name))
            found.append(FileLink(".".join(names), name, place, span))
    return tuple(found)


def header_spans(text: str) -> tuple[Span, ...]:
    """The headers of tables that the reference page explains, without brackets."""
    found = []
    for header in outline(text).headers:
        table = table_at(header.path)
        if table is not None and table.name:
            start, end = header.span.start, header.span.end
            inner = text[start:end].strip("[]")
            start = text.index(inner, start)
            found.append(Span(start, start + len(inner)))
    return tuple(found)


def token_quote(token: str) -> str:
    for quote in ('"""', "'''", '"', "'"):
        if token.startswith(quote):
            return quote
    return ""


def _names(path: Path) -> tuple[str, ...]:
    _, rest = split_profile(path)
    return tuple(part for part in rest if isinstance(part, str))
