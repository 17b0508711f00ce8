"""Corrections of a configuration that an editor can apply by itself. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import tomli

from ..config import ConfigProblem
from ..config.introspect import find_key, tables
from .cursor import split_profile
from .outline import Header, Outline, Pair, Path, Span, outline

_BLANK_LINES = re.compile(r"(?:[ \t]*\r?\n)*")
_PIN_FOR = ("direct", "relay", "ngrok", "command")
"""The providers whose VM keeps its host key, or where a pin in the file is wanted."""


@dataclass(frozen=True)
class Edit:
    """`text` takes the place of `span`."""

    span: Span
    text: str


@dataclass(frozen=True)
class Fix:
    title: str
    edits: tuple[Edit, ...]
    is_preferred: bool = False


def fixes(text: str, problem: ConfigProblem) -> tuple[Fix, ...]:
    """What helps against `problem`, which `check_config(text)` has found."""
    found = outline(text)
    span = span_of(text, problem)
    return tuple(one for one in _fixes(found, problem, span) if _is_toml(text, one))


def _is_toml(text: str, fix: Fix) -> bool:
    """Whether it still is after `fix`: the name that was meant may be taken."""
    for edit in sorted(fix.edits, key=lambda one: one.span.start, reverse=True):
        text = text[: edit.span.start] + edit.text + text[edit.span.end :]
    try:
        tomli.loads(text)
    except tomli.TOMLDecodeError:
        return False
    return True


def _fixes(found: Outline, problem: ConfigProblem, span: Span) -> Iterator[Fix]:
    nearest, there = problem.nearest, found.text[span.start : span.end]
    is_key = problem.message == "unknown key"
    if nearest is not None and is_key and "." in nearest:
        yield from _moved(found, span, nearest)
    elif nearest is not None and there:
        quoted = not is_key and there[0] in "\"'"
        text = json.dumps(nearest, ensure_ascii=False) if quoted else nearest
        title = f"Change to {text}"
        yield Fix(title, (Edit(span, text),), is_preferred=True)
    if is_key:
        yield from _removed(found, span)


def span_of(text: str, problem: ConfigProblem) -> Span:
    """Where `problem` stands, as offsets."""
    starts = [0, *(found.end() for found in re.finditer("\n", text)), len(text)]

    def offset(line: int, column: int) -> int:
        return min(starts[min(line, len(starts) - 1)] + column, len(text))

    return Span(
        offset(problem.line, problem.column),
        offset(problem.end_line, problem.end_column),
    )


def _removed(found: Outline, span: Span) -> Iterator[Fix]:
    pair = _pair_at(found, span)
    if pair is not None and not pair.is_inline:
        name = found.text[pair.key.start : pair.key.end]
        yield Fix(f"Remove {name}", (Edit(whole_lines(found, pair), ""),))
        return
    for header in found.headers:
        if header.span.start <= span.start < header.span.end:
            end = _end_of_keys(found, header)  # comments behind them are the next's
            blank = _BLANK_LINES.match(found.text, end)
            end = blank.end() if blank else end
            name = found.text[header.span.start : header.span.end]
            gone = Span(found.line_of(header.span.start).start, end)
            yield Fix(f"Remove {name} and its keys", (Edit(gone, ""),))


def _moved(found: Outline, span: Span, nearest: str) -> Iterator[Fix]:
    """A key that belongs to another table goes there."""
    pair, key = _pair_at(found, span), find_key(nearest)
    if pair is None or key is None or pair.is_inline or pair.names > 1:
        return
    table = nearest.rpartition(".")[0]
    if tables()[table].repeated or pair.value is None:
        return
    profile, _ = split_profile(pair.path)
    lines = whole_lines(found, pair)
    text = key.name + found.text[pair.key.end : lines.end].rstrip("\n") + "\n"
    placed = _placed(found, (*profile, table), text)
    if placed is None:
        return
    title = f"Move to [{'.'.join(map(str, (*profile, table)))}]"
    yield Fix(title, (Edit(lines, ""), placed), is_preferred=True)


def pin_host_key(text: str, fingerprint: str, profile: str | None) -> Fix | None:
    """`host_key` for the link in use. None where it has one, or should have none."""
    found = outline(text)
    table: Path = ("link",)
    own: Path = ("profiles", profile, "link") if profile else table
    if any(one.path == own for one in found.headers):
        table = own
    if any(found.string((*one, "host_key")) is not None for one in (table, ("link",))):
        return None
    provider = found.string((*own, "provider")) or found.string(("link", "provider"))
    if provider not in _PIN_FOR:
        return None
    placed = _placed(found, table, f"host_key = {json.dumps(fingerprint)}\n")
    return Fix("Pin the host key of this VM", (placed,)) if placed else None


def _placed(found: Outline, table: Path, line: str) -> Edit | None:
    """Adds `line` to `table`: behind its last key, or with a header of its own. None
    where the table is written in another way."""
    text = found.text
    header = next((one for one in found.headers if one.path == table), None)
    if header is None:
        if found.names_in(table):
            return None
        gap = "" if not text or text.endswith("\n") else "\n"
        name = ".".join(map(str, table))
        at, line = len(text), f"{gap}\n[{name}]\n{line}"
    else:
        at = _end_of_keys(found, header)
        if at and text[at - 1] != "\n":
            line = "\n" + line.rstrip("\n")
    if "\r\n" in text:
        line = line.replace("\r\n", "\n").replace("\n", "\r\n")
    return Edit(Span(at, at), line)


def _end_of_keys(found: Outline, header: Header) -> int:
    end = found.section_end(header)
    last = found.line_of(header.span.end).end
    for pair in found.pairs:
        if header.span.end <= pair.key.start < end:
            last = max(last, whole_lines(found, pair).end)
    return last


def whole_lines(found: Outline, pair: Pair) -> Span:
    """The lines that a pair takes, with the last newline."""
    end = pair.value.end if pair.value else pair.key.end
    return Span(found.line_of(pair.key.start).start, found.line_of(end).end)


def _pair_at(found: Outline, span: Span) -> Pair | None:
    inside = (one for one in found.pairs if one.key.start <= span.start < one.key.end)
    return next(inside, None)
