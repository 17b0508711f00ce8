"""The VS Code extension's `protocol.ts`, derived from `colab_devsync/lsp/protocol.py`.

Used by scripts/gen_docs.py. Every constant and every TypedDict becomes one of the same
name; a type that has no counterpart here is a TypeError, so that none is left out.
"""

from __future__ import annotations

import textwrap
import types
from collections.abc import Iterator
from typing import (
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from colab_devsync.lsp import protocol

_HEAD = """\
// Generated from colab_devsync/lsp/protocol.py by scripts/gen_docs.py; edit that file.
// docs/reference/lsp.md explains these messages.
"""
_PLAIN = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    Any: "unknown",
}

_WIDTH = 110


def typescript() -> str:
    own = vars(protocol).items()
    constants = [
        f"{name} = {_literal(value)},"
        for name, value in own
        if name.isupper() and isinstance(value, (str, int))
    ]
    lines = _filled(f"export const {' '.join(constants).rstrip(',')};", ",")
    bodies = [value for _, value in own if is_typeddict(value)]
    here = [one for one in bodies if one.__module__ == protocol.__name__]
    return "\n".join([_HEAD, *lines, "", *map(_interface, here)]) + "\n"


def _interface(body: Any) -> str:
    head, fields = f"export interface {body.__name__} {{", " ".join(_fields(body))
    if len(one_line := f"{head} {fields} }}") <= _WIDTH:
        return one_line
    return "\n".join([head, *(f"  {one}" for one in _filled(fields, ";")), "}"])


def _filled(text: str, end: str) -> list[str]:
    """Lines that break only after `end`."""
    whole = text.replace(" ", "\0").replace(f"{end}\0", f"{end} ")
    return [one.replace("\0", " ") for one in textwrap.wrap(whole, _WIDTH)]


def _fields(body: Any) -> Iterator[str]:
    for name, kind in get_type_hints(body).items():
        mark = "?" if name in body.__optional_keys__ else ""
        yield f"{name}{mark}: {_type(kind)};"


def _type(kind: Any) -> str:
    origin, inside = get_origin(kind), get_args(kind)
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind is type(None):
        return "null"
    if is_typeddict(kind):
        return str(kind.__name__)
    if origin is Literal:
        return " | ".join(map(_literal, inside))
    if origin in (Union, types.UnionType):
        return " | ".join(map(_type, inside))
    if origin is dict:
        return f"Record<{_type(inside[0])}, {_type(inside[1])}>"
    if origin is list or (origin is tuple and inside[1:] == (...,)):
        inner = _type(inside[0])
        return f"({inner})[]" if " | " in inner else f"{inner}[]"
    raise TypeError(f"no TypeScript for {kind}")


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
