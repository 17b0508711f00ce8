"""Reads parsed TOML table by table: unknown keys, wrong types, malformed values.

Each key is looked at alone; what keys mean together is `rules.py`. Pure; any thread.
"""

from __future__ import annotations

import datetime
import difflib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from .formats import MAX_SIZE, NAME, Format
from .introspect import KeyInfo, TableInfo, tables
from .positions import Path

Values = dict[str, Any]

BROKEN: Final = object()
"""Stands for a value that is there but wrong, so that no rule calls it missing."""


@dataclass(frozen=True)
class Mistake:
    """A problem whose place is still a path in the document."""

    path: Path
    message: str
    expected: str = ""
    nearest: str | None = None
    part: Literal["key", "value"] = "value"
    name: Path | None = None  # the key it is about, when it stands elsewhere


class Reader:
    """Reads one document; mistakes add up in `mistakes`."""

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []

    def document(self, raw: Mapping[str, Any]) -> tuple[Values, dict[str, Values]]:
        """The values of the base, and those of each profile by its name."""
        profiles = raw.get("profiles", {})
        base = {name: value for name, value in raw.items() if name != "profiles"}
        return self._root((), base), self._profiles(profiles)

    def _profiles(self, raw: object) -> dict[str, Values]:
        if not isinstance(raw, dict):
            self._wrong(("profiles",), raw, "tables, as in [profiles.gpu2.link]")
            return {}
        found = {}
        for name, body in raw.items():
            path = "profiles", name
            if not NAME.accepts(name):
                self._add(path, "is no profile name", NAME.expected, part="key")
            if isinstance(body, dict):
                found[name] = self._root(path, body)
            else:
                self._wrong(path, body, f"tables, as in [profiles.{name}.link]")
                found[name] = {}
        return found

    def _root(self, path: Path, raw: Mapping[str, Any]) -> Values:
        values: Values = {}
        for name, value in raw.items():
            here = (*path, name)
            table = tables().get(name)
            if table is not None and name:
                values[name] = self._table_or_tables(here, table, value)
            elif name in tables()[""].keys:
                values[name] = self._value(here, tables()[""].keys[name], value)
            else:
                self._unknown(here, name, tables()[""])
        return values

    def _table_or_tables(self, path: Path, table: TableInfo, raw: object) -> Any:
        if not table.repeated:
            if isinstance(raw, dict):
                return self._table(path, table, raw)
            self._wrong(path, raw, f"a table: [{table.name}]")
            return {}
        if not isinstance(raw, list):
            self._wrong(path, raw, f"a list of tables: [[{table.name}]]")
            return []
        found = []
        for index, item in enumerate(raw):
            if isinstance(item, dict):
                found.append(self._table((*path, index), table, item))
            else:
                self._wrong((*path, index), item, f"a table: [[{table.name}]]")
        return found

    def _table(self, path: Path, table: TableInfo, raw: Mapping[str, Any]) -> Values:
        values: Values = {}
        for name, value in raw.items():
            if name in table.keys:
                values[name] = self._value((*path, name), table.keys[name], value)
            else:
                self._unknown((*path, name), name, table)
        for name, info in table.keys.items():
            if info.required and name not in raw:
                self._add((*path, name), "is missing", info.expected)
                values[name] = BROKEN
        return values

    def _value(self, path: Path, info: KeyInfo, raw: object) -> Any:
        before = len(self.mistakes)
        value = self._parsed(path, info, raw)
        return value if len(self.mistakes) == before else BROKEN

    def _parsed(self, path: Path, info: KeyInfo, raw: object) -> Any:
        if info.kind == "list" and isinstance(raw, list):
            return tuple(
                self._text((*path, index), info.about.format, item)
                for index, item in enumerate(raw)
            )
        if info.kind == "table" and isinstance(raw, dict):
            return self._mapping(path, info, raw)
        if info.kind == "boolean" and isinstance(raw, bool):
            return raw
        if info.kind in ("integer", "number", "size") and _is_number(info, raw):
            return self._in_range(path, info, raw, raw)
        if isinstance(raw, str) and info.kind in ("text", "choice", "size"):
            return self._from_text(path, info, raw)
        self._wrong(path, raw, info.expected)
        return None

    def _mapping(self, path: Path, info: KeyInfo, raw: Mapping[str, Any]) -> Values:
        for name in raw:
            if info.about.names and not info.about.names.accepts(name):
                expected = info.about.names.expected
                self._add((*path, name), "is no usable name", expected, part="key")
        each = info.about.format
        return {name: self._text((*path, name), each, raw[name]) for name in raw}

    def _text(self, path: Path, format: Format | None, raw: object) -> object:
        expected = format.expected if format else "text"
        if not isinstance(raw, str):
            simple = isinstance(raw, (bool, int, float))
            quoted = f'"{_toml(raw)}"' if simple else expected
            self._wrong(path, raw, f"text, as in {quoted}" if simple else "text")
            return raw
        if format and not format.accepts(raw):
            self._wrong(path, raw, expected)
            return raw
        return format.parse(raw) if format else raw

    def _from_text(self, path: Path, info: KeyInfo, raw: str) -> Any:
        if info.kind == "choice":
            if raw not in info.choices:
                self._wrong(path, raw, info.expected, closest(raw, info.choices))
            return raw
        format = info.about.format
        if format and not format.accepts(raw):
            self._wrong(path, raw, info.expected)
            return raw
        value = format.parse(raw) if format else raw
        return self._in_range(path, info, raw, value) if info.kind == "size" else value

    def _in_range(self, path: Path, info: KeyInfo, raw: object, value: Any) -> Any:
        low = info.about.minimum
        high = info.about.maximum if info.about.maximum is not None else MAX_SIZE
        if (low is not None and value < low) or value > high:
            self._wrong(path, raw, info.expected)
        return float(value) if info.kind == "number" else value

    def _unknown(self, path: Path, name: str, table: TableInfo) -> None:
        known = [*table.keys, *([] if table.name else [*tables(), "profiles"])]
        where = f"a key of [{table.name}]" if table.name else "a table or key"
        names = ", ".join(filter(None, known))
        nearest = closest(name, known) or _elsewhere(name)
        self._add(path, "unknown key", f"{where}: {names}", nearest, part="key")

    def _wrong(
        self, path: Path, raw: object, expected: str, nearest: str | None = None
    ) -> None:
        self._add(path, f"is {describe(raw)}", expected, nearest)

    def _add(
        self,
        path: Path,
        message: str,
        expected: str,
        nearest: str | None = None,
        *,
        part: Literal["key", "value"] = "value",
    ) -> None:
        self.mistakes.append(Mistake(path, message, expected, nearest, part))


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was perhaps meant."""
    plain = {name.lower(): name for name in known}
    asked = word.lower().replace("-", "_")
    found = difflib.get_close_matches(asked, plain, n=1, cutoff=0.6)
    return plain[found[0]] if found else None


def by_nearness(word: str, known: Iterable[str]) -> list[str]:
    """The known words, first what looks most like `word`."""

    def unlikeness(name: str) -> float:
        return -difflib.SequenceMatcher(None, name.lower(), word.lower()).ratio()

    return sorted(known, key=unlikeness)


def describe(raw: object) -> str:
    """A TOML value in a few words, for "is …"."""
    if isinstance(raw, str):
        text = raw if len(raw) <= 60 else raw[:57] + "…"
        return f"the text {json.dumps(text, ensure_ascii=False)}"
    if isinstance(raw, bool):
        return _toml(raw)
    if isinstance(raw, (int, float)):
        return f"the number {_toml(raw)}"
    if isinstance(raw, (datetime.date, datetime.time)):
        return "a date or time"
    return "a list" if isinstance(raw, list) else "a table"


def _toml(raw: object) -> str:
    text = str(raw).lower()
    return text if len(text) <= 40 else text[:37] + "…"


def _is_number(info: KeyInfo, raw: object) -> bool:
    if isinstance(raw, bool):  # an int to Python, not to a person
        return False
    if info.kind == "number" and isinstance(raw, float):
        return math.isfinite(raw)
    return isinstance(raw, int)


def _elsewhere(name: str) -> str | None:
    """A key of that very name in another table: "run.entry"."""
    asked = name.lower().replace("-", "_")
    for table in tables().values():
        if table.name and asked in table.keys:
            return table.keys[asked].path
    return None
