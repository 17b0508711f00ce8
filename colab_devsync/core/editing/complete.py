"""What can be typed at one place of a configuration. Pure.

Values that only the machine or the VM knows (sessions, files, folders) are named as
`Wanted`; the caller finds them and `value_items` makes suggestions of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass
from typing import Literal

from ..config.introspect import KeyInfo, as_toml, tables
from . import words
from .cursor import (
    HeaderPlace,
    KeyPlace,
    ValuePlace,
    key_at,
    place_at,
    provider_of,
    table_at,
)
from .outline import Outline, Path, Span, content, outline

Source = Literal[
    "sessions",
    "identity files",
    "scripts",
    "modules",
    "project paths",
    "project folders",
    "remote folders",
]

_SOURCES: Mapping[str, Source] = {
    "link.session": "sessions",
    "link.identity_file": "identity files",
    "run.entry": "scripts",
    "run.module": "modules",
    "run.cwd": "remote folders",
    "remote.root": "remote folders",
    "tensorboard.logdir": "remote folders",
    "pull.remote": "remote folders",
    "pull.local": "project folders",
    "sync.exclude": "project paths",
    "sync.include": "project paths",
}
_EXCLUDES = {"entry": "module", "module": "entry"}


@dataclass(frozen=True)
class Item:
    """One suggestion: `insert` takes the place of `span`."""

    label: str
    kind: Literal["table", "key", "value", "folder"]
    insert: str
    span: Span
    filter: str
    order: str
    detail: str = ""
    doc: str = ""
    is_snippet: bool = False


@dataclass(frozen=True)
class Wanted:
    """What has to be looked up: `typed` is what stands before the cursor."""

    source: Source
    typed: str
    place: ValuePlace


@dataclass(frozen=True)
class Completion:
    items: tuple[Item, ...] = ()
    wanted: Wanted | None = None


def complete(text: str, offset: int, *, snippets: bool) -> Completion:
    found = outline(text)
    place = place_at(found, offset)
    if isinstance(place, HeaderPlace):
        return Completion(tuple(_headers(found, place.header.span, offset)))
    if isinstance(place, KeyPlace):
        return Completion(tuple(_keys(found, place, offset, snippets=snippets)))
    if isinstance(place, ValuePlace):
        return _values(found, place, offset)
    return Completion()


# --- tables ---------------------------------------------------------------------------


def _headers(found: Outline, span: Span, offset: int) -> Iterator[Item]:
    typed = found.text[span.start : offset]
    for index, (name, table) in enumerate(tables().items()):
        if name and (table.repeated or not _has_header(found, (name,), span)):
            if typed.startswith("[[") and not table.repeated:
                continue
            label, doc = words.header(table), words.about_table(table)
            yield _header_item(label, table.doc, doc, span, f"5{index:02}")
    if not typed.startswith("[["):
        yield from _profile_headers(found, span)


def _profile_headers(found: Outline, span: Span) -> Iterator[Item]:
    names = sorted(found.names_in(("profiles",)))
    doc = words.about_profiles()
    typed = found.text[span.start : span.end].strip("[] \t").split(".")
    known = names if len(typed) < 3 else [typed[1]]
    for profile in filter(None, known):
        for name, table in tables().items():
            taken = _has_header(found, ("profiles", profile, name), span)
            if not name or (taken and not table.repeated):
                continue
            inner = f"profiles.{profile}.{name}"
            label = f"[[{inner}]]" if table.repeated else f"[{inner}]"
            yield _header_item(label, f"Profile {profile}", doc, span, "6" + label)
    if not names:
        label = "[profiles.NAME.link]"
        yield _header_item(label, "Another VM, chosen by name", doc, span, "69")


def _header_item(label: str, detail: str, doc: str, span: Span, order: str) -> Item:
    return Item(label, "table", label, span, label, order, detail, doc)


def _has_header(found: Outline, path: Path, apart: Span) -> bool:
    return any(one.path == path and one.span != apart for one in found.headers)


# --- keys -----------------------------------------------------------------------------


def _keys(
    found: Outline, place: KeyPlace, offset: int, *, snippets: bool
) -> Iterator[Item]:
    table = table_at(place.table)
    if table is not None:
        present = found.names_in(place.table) - {_own_name(place)}
        provider = provider_of(found, place.table) if table.name == "link" else ""
        has_value = place.pair is not None and place.pair.value is not None
        for index, key in enumerate(table.keys.values()):
            if key.name in present or _EXCLUDES.get(key.name) in present:
                continue
            order = f"{_rank(key, provider)}{index:02}"
            yield _key_item(key, place.span, order, bare=has_value, snippets=snippets)
    if place.at_line_start:
        yield from _headers(found, place.span, place.span.start)


def _own_name(place: KeyPlace) -> str:
    """The name that is being typed does not count as present."""
    if place.pair is None:
        return ""
    depth = len(place.table)
    path = place.pair.path
    return str(path[depth]) if len(path) > depth else ""


def _rank(key: KeyInfo, provider: str) -> int:
    """Required keys, those of the provider in use, all others, other providers'."""
    if key.required:
        return 0
    if not key.about.providers:
        return 0 if key.name == "provider" else 2
    return 1 if provider in key.about.providers else 3


def _key_item(
    key: KeyInfo, span: Span, order: str, *, bare: bool, snippets: bool
) -> Item:
    if bare:
        insert, is_snippet = key.name, False
    elif snippets:
        insert, is_snippet = f"{key.name} = {_value_snippet(key)}", True
    else:
        insert, is_snippet = f"{key.name} = ", False
    about = key.about
    only = f"only for {', '.join(about.providers)}; " if about.providers else ""
    return Item(
        label=key.name,
        kind="key",
        insert=insert,
        span=span,
        filter=key.name,
        order=order,
        detail=only + key.expected,
        doc=words.about_key(key),
        is_snippet=is_snippet,
    )


def _value_snippet(key: KeyInfo) -> str:
    """A value to type over: chosen from a list, or the example without its quotes."""
    if key.kind == "choice":
        return '"${1|' + ",".join(key.choices) + '|}"'
    if key.kind == "boolean":
        return "${1|true,false|}"
    example = key.about.example
    if key.kind == "list":
        return "[${1:" + _escaped(example[1:-1]) + "}]"
    if key.kind == "table":
        return "{ ${1:" + _escaped(example.strip("{ }")) + "} }"
    if example.startswith('"'):
        return '"${1:' + _escaped(example[1:-1]) + '}"'
    return "${1:" + _escaped(example) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("$", "\\$").replace("}", "\\}")


# --- values ---------------------------------------------------------------------------


def _values(found: Outline, place: ValuePlace, offset: int) -> Completion:
    key = key_at(place.pair.path)
    if key is None or "\n" in found.text[place.span.start : place.span.end]:
        return Completion()  # an editor replaces within one line only
    doc = words.about_key(key)
    items: list[Item] = []
    if key.kind == "choice":
        items = [
            _text_item(found, place, one, doc=doc, order=f"{index:02}")
            for index, one in enumerate(key.choices)
        ]
    elif key.kind == "boolean":
        items = [_plain_item(place, one, doc) for one in ("true", "false")]
    elif key.kind in ("integer", "number"):
        known = () if key.default in (MISSING, None) else (as_toml(key.default),)
        values = dict.fromkeys((*known, key.about.example))
        items = [_plain_item(place, one, doc) for one in values]
    source = _SOURCES.get(key.path)
    if source is not None:
        start = place.span.start
        typed = content(found.text[start:offset])
        return Completion(tuple(items), Wanted(source, typed, place))
    if not items and key.kind in ("text", "size"):
        examples = [key.about.example]
        if isinstance(key.default, str):
            examples.insert(0, as_toml(key.default))
        texts = dict.fromkeys(one[1:-1] for one in examples if one.startswith('"'))
        items = [_text_item(found, place, one, doc=doc) for one in texts]
    return Completion(tuple(items))


def value_items(text: str, wanted: Wanted, values: Iterable[str]) -> tuple[Item, ...]:
    """Suggestions of what was found; a name that ends with "/" is a folder."""
    found = outline(text)
    place = wanted.place
    key = key_at(place.pair.path)
    doc = words.about_key(key) if key else ""
    there = {
        content(text[token.start : token.end])
        for token in place.pair.tokens
        if place.in_list and token != place.span
    }
    return tuple(
        _text_item(found, place, one, doc=doc, order=f"{index:03}")
        for index, one in enumerate(values)
        if one not in there
    )


def _text_item(
    found: Outline, place: ValuePlace, value: str, *, doc: str, order: str = ""
) -> Item:
    token = found.text[place.span.start : place.span.end]
    kind: Literal["folder", "value"] = "folder" if value.endswith("/") else "value"
    quote = token[:1] if token[:1] in ('"', "'") else ""
    is_triple = len(token) > 2 and token.startswith(quote * 3)
    if not quote or is_triple or (quote == "'" and quote in value):
        insert = json.dumps(value, ensure_ascii=False)
        return Item(value, kind, insert, place.span, value, order or value, doc=doc)
    closed = len(token) > 1 and token.endswith(quote)
    span = Span(place.span.start + 1, place.span.end - (1 if closed else 0))
    insert = value if quote == "'" else json.dumps(value, ensure_ascii=False)[1:-1]
    if not closed:
        insert += quote
    return Item(value, kind, insert, span, value, order or value, doc=doc)


def _plain_item(place: ValuePlace, value: str, doc: str) -> Item:
    return Item(value, "value", value, place.span, value, value, doc=doc)
