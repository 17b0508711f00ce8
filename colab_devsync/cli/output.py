"""Everything that is printed: results to stdout, the rest to stderr.

With `--json`, stdout carries one JSON object per line and nothing else. Colours only on
a terminal (click strips them elsewhere) and never with NO_COLOR.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from ..daemon.client import RemoteFailure
from ..errors import DevsyncError
from .settings import Settings


def result(settings: Settings, body: Mapping[str, Any], text: str) -> None:
    """The outcome of a command, for machines or for people."""
    if settings.json:
        json_line(body)
    elif text:
        click.echo(text, color=colour())


def json_line(body: Mapping[str, Any]) -> None:
    click.echo(json.dumps(body))


def note(text: str) -> None:
    """Something a person should know that is not the result."""
    click.echo(text, err=True, color=colour(err=True))


def failure(settings: Settings, error: DevsyncError) -> None:
    """What failed, where, and the next step."""
    if settings.json:
        body = {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "exitCode": error.exit_code,
        }
        json_line({"error": body})
    note(f"{click.style('error:', fg='red', bold=True)} {error.message}")
    if error.hint:
        note(f"{click.style('next:', fg='cyan')}  {error.hint}")
    if settings.verbose:
        note(_traceback(error))


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Two columns, the first as wide as its longest word."""
    kept = [(name, text) for name, text in rows if text]
    width = max((len(name) for name, _ in kept), default=0)
    lines = []
    for name, text in kept:
        first, *more = text.splitlines()
        lines.append(f"{click.style(name.ljust(width), dim=True)}  {first}")
        lines += [" " * (width + 2) + line for line in more]
    return "\n".join(lines)


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table with a head."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in (head, *rows)
    ]
    return "\n".join([click.style(lines[0].rstrip(), dim=True), *lines[1:]])


def size(count: float) -> str:
    """Bytes for people: 1.5 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def age(seconds: float) -> str:
    """A duration for people: 3 h 12 min."""
    minutes = int(seconds // 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def colour(*, err: bool = False) -> bool | None:
    if os.environ.get("NO_COLOR"):
        return False
    return (sys.stderr if err else sys.stdout).isatty()


def _traceback(error: DevsyncError) -> str:
    if isinstance(error, RemoteFailure) and error.traceback:
        return error.traceback
    return "".join(traceback.format_exception(error))
