"""The one JSON object every command takes: checked key by key. Pure.

pygls would ignore an unknown key, so a typing error would silently do something else.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import DevsyncError

_NAMES = {
    str: "a string",
    bool: "true or false",
    int: "a number",
    list: "a list",
    dict: "an object",
}


class BadArguments(DevsyncError):
    """A command was called with something it does not take."""


@dataclass(frozen=True)
class Key:
    """One key a command takes. `choices` bounds a string."""

    kind: type
    required: bool = False
    choices: tuple[str, ...] = ()


def parse(
    command: str, keys: Mapping[str, Key], arguments: Sequence[Any]
) -> dict[str, Any]:
    """Only the first argument counts: VS Code's menus append URIs of their own."""
    given = arguments[0] if arguments else None
    if given is None:
        given = {}
    if not isinstance(given, Mapping):
        raise BadArguments(
            f"{command} takes one JSON object, not {type(given).__name__}.",
            f"Its keys: {', '.join(keys)}.",
        )
    for name, value in given.items():
        _check(command, keys, name, value)
    for name, key in keys.items():
        if key.required and given.get(name) is None:
            raise BadArguments(f"{command} needs the key {name!r}.", _expected(key))
    return {name: given.get(name) for name in keys}


def _check(command: str, keys: Mapping[str, Key], name: str, value: Any) -> None:
    key = keys.get(name)
    if key is None:
        near = difflib.get_close_matches(str(name), keys, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise BadArguments(
            f"{command} has no key {name!r}.", f"{hint}It takes: {', '.join(keys)}."
        )
    if value is None:
        return
    wrong = not isinstance(value, key.kind) or (
        isinstance(value, bool) and key.kind is not bool
    )
    if wrong or (key.choices and value not in key.choices):
        raise BadArguments(f"{command}: {name!r} can't be {value!r}.", _expected(key))


def _expected(key: Key) -> str:
    if key.choices:
        return f"Expected one of: {', '.join(key.choices)}."
    return f"Expected {_NAMES[key.kind]}."
