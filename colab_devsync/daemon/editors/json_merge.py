"""Adds what is missing to a JSON file with comments; what is there stays. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from .jsonc import Node, parse, skip_blank
from .model import CannotMerge

_NAMES = ("name", "label")  # by which editors tell the entries of a list apart


def json_text(wanted: Any) -> str:
    """A new file."""
    return json.dumps(wanted, indent=2, ensure_ascii=False) + "\n"


def json_merge(wanted: Any, *, strict: bool = False) -> Callable[[str], str]:
    """A merge that adds keys and list entries which are missing. A key that has
    another value keeps it; with `strict` that is CannotMerge."""
    return partial(_merged, wanted, strict)


def _merged(wanted: Any, strict: bool, text: str) -> str:
    if not text[skip_blank(text, 0) :]:
        gap = "" if text in ("", "\ufeff") or text.endswith("\n") else "\n"
        return text + gap + json_text(wanted)  # empty, or nothing but comments
    # One addition at a time: each changes the positions of all that follow.
    while (change := _addition(parse(text), wanted, text, strict, "")) is not None:
        text = change
    return text


def _addition(
    node: Node, wanted: Any, text: str, strict: bool, where: str
) -> str | None:
    """The text with the first thing that is missing; None if nothing is."""
    if isinstance(wanted, Mapping):
        return _into_object(node, wanted, text, strict, where)
    if isinstance(wanted, list):
        return _into_list(node, wanted, text, where)
    if node.children or node.members is not None or node.items is not None:
        raise CannotMerge(f"{where or 'the file'} is not a single value")
    if strict and node.value != wanted:
        raise CannotMerge(f"{where} is {json.dumps(node.value)} there")
    return None


def _into_object(
    node: Node, wanted: Mapping[str, Any], text: str, strict: bool, where: str
) -> str | None:
    if node.members is None:
        raise CannotMerge(f"{where or 'the file'} is not an object")
    for key, value in wanted.items():
        inside = f"{where}.{key}".lstrip(".")
        if key not in node.members:
            return _insert(text, node, f"{json.dumps(key)}: ", value)
        found = _addition(node.members[key], value, text, strict, inside)
        if found is not None:
            return found
    return None


def _into_list(node: Node, wanted: list[Any], text: str, where: str) -> str | None:
    if node.items is None:
        raise CannotMerge(f"{where or 'the file'} is not a list")
    there = [_identity(one.plain()) for one in node.items]
    for value in wanted:
        if _identity(value) not in there:
            return _insert(text, node, "", value)
    return None


def _identity(value: Any) -> Any:
    """Entries with the same name are the same; the owner may have changed the rest."""
    if isinstance(value, Mapping):
        names = [value[key] for key in _NAMES if key in value]
        return ("named", names[0]) if names else json.dumps(value, sort_keys=True)
    return json.dumps(value, sort_keys=True)


def _insert(text: str, node: Node, head: str, value: Any) -> str:
    """`value` as the last child of `node`."""
    close = node.end - 1
    outer = _indent_at(text, node.start)
    inner = _indent_at(text, node.children[-1].start) if node.children else None
    if inner is None or len(inner) <= len(outer):
        inner = outer + _step(text)
    body = json.dumps(value, indent=_step(text), ensure_ascii=False)
    addition = "\n" + inner + head + body.replace("\n", "\n" + inner)
    last = node.children[-1].end if node.children else node.start + 1
    # Behind a comment that ends the container, before the bracket's own line.
    end = len(text[:close].rstrip())
    needs_comma = bool(node.children) and "," not in _bare(text[last:close])
    kept = text[last:end] if end > last else ""
    return (
        text[:last]
        + ("," if needs_comma else "")
        + kept
        + addition
        + "\n"
        + outer
        + text[close:]
    )


def _bare(text: str) -> str:
    """Without comments."""
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)


def _indent_at(text: str, at: int) -> str:
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip())]


def _step(text: str) -> str:
    """What the file indents by."""
    match = re.search(r"^[{\[]\s*?\n([ \t]+)\S", text, re.MULTILINE)
    return match[1] if match else "  "
