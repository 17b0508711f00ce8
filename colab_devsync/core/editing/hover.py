"""What is shown where the mouse rests in a configuration. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ..config.introspect import KeyInfo, find_key, tables
from . import words
from .cursor import (
    HeaderPlace,
    KeyPlace,
    ValuePlace,
    key_at,
    place_at,
    split_profile,
    table_at,
)
from .outline import Path, Span, content, outline


@dataclass(frozen=True)
class Hover:
    markdown: str
    span: Span


def hover(text: str, offset: int) -> Hover | None:
    found = outline(text)
    # A mouse rests on a character, a cursor stands before it.
    place = place_at(found, offset) or place_at(found, offset + 1)
    if isinstance(place, HeaderPlace):
        said = _about_path(place.header.path)
        return Hover(said, place.header.span) if said else None
    if isinstance(place, KeyPlace) and place.pair is not None:
        start, end = place.span.start, place.span.end
        said = _about_path((*place.table, text[start:end].strip(" \t\"'")))
        return Hover(said, place.span) if said else None
    if isinstance(place, ValuePlace) and place.span.end > place.span.start:
        key = key_at(place.pair.path)
        token = content(text[place.span.start : place.span.end])
        return Hover(_about_value(key, token), place.span) if key else None
    return None


def _about_path(path: Path) -> str | None:
    profile, rest = split_profile(path)
    if profile and not rest:
        return words.about_profiles()
    table = table_at(path)
    if table is not None and table.name:
        return words.about_table(table)
    key = key_at(path)
    return words.about_key(key) if key else None


def _about_value(key: KeyInfo, token: str) -> str:
    said = words.about_key(key)
    format = key.about.format
    if key.kind == "size" and format and format.accepts(token):
        said += f"\n\nThat is {format.parse(token):,} bytes."
    if key is find_key("link.provider"):
        own = [
            f"`{other.name}`"
            for other in tables()["link"].keys.values()
            if token in other.about.providers
        ]
        if own:
            said += f"\n\nIts own keys: {', '.join(own)}."
    return said
