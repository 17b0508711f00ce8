"""`[FILE | -m MODULE] [-- ARGS]`, as `python` itself reads it. Parses; does no work.

What follows FILE or MODULE belongs to the program, options and `--json` included; a
`--` before it may be left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..errors import RunError
from .settings import Settings

_MODULE = {"-m", "--module"}


class TargetCommand(click.Command):
    """A command that takes a target: it has an argument `file` and an option
    `--module`, and its callback also gets `args`."""

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["[OPTIONS]", "[FILE | -m MODULE]", "[-- ARGS...]"]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        options = [one for one in self.params if isinstance(one, click.Option)]
        with_value = {
            name for one in options if not one.is_flag for name in one.opts
        } - _MODULE
        own, words = split(args, with_value)
        rest = super().parse_args(ctx, own)
        ctx.params["args"] = tuple(words)
        return rest


def split(args: Sequence[str], with_value: set[str]) -> tuple[list[str], list[str]]:
    """Our own words, FILE or `-m MODULE` among them, and the program's."""
    index = 0
    while index < len(args):
        word = args[index]
        if word == "--":
            return list(args[:index]), list(args[index + 1 :])
        is_module = word.startswith("--module=") or (word[:2] == "-m" and word[2:])
        if word in with_value or word in _MODULE:
            index += 2
            is_module = word in _MODULE
        else:
            index += 1
        if is_module or word == "-" or not word.startswith("-"):
            words = list(args[index:])
            return list(args[:index]), words[1:] if words[:1] == ["--"] else words
    return list(args), []


def target_arguments(
    settings: Settings, folder: str, file: str | None, module: str | None
) -> dict[str, Any]:
    """`file` and `module` for the daemon. RunError if FILE is not of the project."""
    if file is None:
        return {"module": module}
    return {"file": inside(settings, Path(folder), file)}


def inside(settings: Settings, root: Path, file: str) -> str:
    """FILE relative to the project: FILE is relative to the current folder, or with
    --project to that."""
    here = Path.cwd() / file
    if settings.project is not None and not here.exists():
        here = root / file
    if not here.is_file():
        what = "is a folder" if here.is_dir() else "does not exist"
        raise RunError(f"{here} {what}.", "Name a Python file, or `-m MODULE`.")
    real = here.resolve()
    if not real.is_relative_to(root.resolve()):
        raise RunError(
            f"{here} is not in the project {root}.",
            "Only what is in the project is on the VM.",
        )
    return real.relative_to(root.resolve()).as_posix()
