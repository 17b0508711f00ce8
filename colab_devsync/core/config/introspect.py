"""The schema as data: every table and key with its type, default and sentence.

Derived from the dataclasses of `schema.py` by looking at them; validation, the JSON
Schema, the reference page and an editor's hover and completion read it. Any thread.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from functools import cache
from typing import Any, Literal

from .formats import SIZE, Key
from .schema import Config

Kind = Literal[
    "boolean", "integer", "number", "size", "text", "choice", "list", "table"
]


@dataclass(frozen=True)
class KeyInfo:
    """One key of a table. `path` is dotted: "link.port"."""

    path: str
    name: str
    kind: Kind
    choices: tuple[str, ...]
    default: Any  # MISSING when it is required or computed
    about: Key

    @property
    def required(self) -> bool:
        return self.default is MISSING and not self.about.default

    @property
    def default_text(self) -> str:
        """The default as TOML or in words; "" when there is none."""
        if self.about.default or self.default in (MISSING, None):
            return self.about.default
        return as_toml(self.default)

    @property
    def expected(self) -> str:
        """Completes "expected …"."""
        about = self.about
        each = about.format.expected if about.format else "text"
        if self.kind == "choice":
            return "one of " + ", ".join(f'"{choice}"' for choice in self.choices)
        if self.kind == "list":
            return f"a list of texts, as in {about.example}"
        if self.kind == "table":
            return f"a table of texts, as in {about.example}"
        if self.kind == "boolean":
            return "true or false"
        if self.kind == "integer":
            return "a whole number" + self._range()
        if self.kind == "number":
            return "a number" + self._range()
        return each + (", at least 1" if self.kind == "size" and about.minimum else "")

    def _range(self) -> str:
        low, high = self.about.minimum, self.about.maximum
        if low is not None and high is not None:
            return f" from {low:g} to {int(high)}"
        return "" if low is None else f", {low:g} or more"


@dataclass(frozen=True)
class TableInfo:
    """One table. `repeated` ones are written `[[name]]`; the root has no name."""

    name: str
    doc: str
    repeated: bool
    keys: Mapping[str, KeyInfo]
    make: type[Any]


@cache
def tables() -> Mapping[str, TableInfo]:
    """All tables by name, in the order of the file; "" is the root."""
    root = _table("", Config, repeated=False)
    found = {"": root}
    for name, hint in typing.get_type_hints(Config).items():
        repeated = typing.get_origin(hint) is tuple
        make = typing.get_args(hint)[0] if repeated else hint
        if dataclasses.is_dataclass(make):
            found[name] = _table(name, typing.cast(type[Any], make), repeated=repeated)
    return types.MappingProxyType(found)


def find_key(path: str) -> KeyInfo | None:
    """The key of a dotted path without indexes: "link.port", "pull.every", "name"."""
    table, _, name = path.rpartition(".")
    info = tables().get(table)
    return info.keys.get(name) if info else None


def as_toml(value: Any) -> str:
    """A default as TOML text."""
    if isinstance(value, tuple):
        return "[" + ", ".join(as_toml(item) for item in value) + "]"
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value, ensure_ascii=False)


def _table(name: str, make: type[Any], *, repeated: bool) -> TableInfo:
    hints = typing.get_type_hints(make, include_extras=True)
    keys = {
        field.name: _key(f"{name}.{field.name}".lstrip("."), field, hints[field.name])
        for field in dataclasses.fields(make)
        if typing.get_origin(hints[field.name]) is typing.Annotated
    }
    doc = (make.__doc__ or "").strip()
    return TableInfo(name, doc, repeated, types.MappingProxyType(keys), make)


def _key(path: str, field: dataclasses.Field[Any], annotated: Any) -> KeyInfo:
    hint, about = typing.get_args(annotated)
    default = field.default
    if default is MISSING and field.default_factory is not MISSING:
        default = field.default_factory()
    kind, choices = _kind(hint, about)
    return KeyInfo(path, field.name, kind, choices, default, about)


_KINDS: Mapping[Any, Kind] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "text",
    tuple: "list",
    Mapping: "table",
}


def _kind(hint: Any, about: Key) -> tuple[Kind, tuple[str, ...]]:
    origin = typing.get_origin(hint)
    if origin is Literal:
        return "choice", typing.get_args(hint)
    if about.format is SIZE:
        return "size", ()
    if origin in (types.UnionType, typing.Union):  # `str | None`: None = not given
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    return _KINDS[origin if origin in _KINDS else hint], ()
