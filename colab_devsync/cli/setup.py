"""`setup`: writes what an editor needs to work with the VM."""

from __future__ import annotations

from typing import Any

import click

from ..daemon.editors import EDITORS, UPLOADERS
from . import output
from .settings import current, global_options
from .talk import Talk


@click.command()
@global_options(hidden=True)
@click.argument("editor", type=click.Choice(EDITORS))
@click.option("--yes", is_flag=True, help="Change files that are there without asking.")
@click.option(
    "--dry-run", "--print", "dry_run", is_flag=True, help="Only show the files."
)
@click.option(
    "--upload-by",
    type=click.Choice(UPLOADERS),
    default=UPLOADERS[0],
    show_default=True,
    help="pycharm: who uploads saved files; needs `watch = false` in [sync].",
)
def setup(editor: str, yes: bool, dry_run: bool, upload_by: str) -> int:
    """Write EDITOR's files for this project, and say what is left to do.

    Files that are there are merged into after asking, never replaced; where that is not
    safe nothing is written and what to add is shown. Exits with 1 if a file was left
    out, for then the editor lacks something.
    """
    settings = current()
    if upload_by != UPLOADERS[0] and editor != "pycharm":
        raise click.UsageError(f"--upload-by is for pycharm, not for {editor}.")
    with Talk(settings) as talk:
        body = talk.job(
            "setup", editor=editor, yes=yes, dryRun=dry_run, uploadBy=upload_by
        )
    output.result(settings, body, _text(body, dry_run=dry_run))
    left_out = any(one["state"] == "skipped" for one in body["files"])
    return 1 if left_out and not dry_run else 0


def _text(body: dict[str, Any], *, dry_run: bool) -> str:
    parts = [_file(one, dry_run=dry_run) for one in body["files"]]
    if body["steps"]:
        steps = enumerate(body["steps"], 1)
        parts += ["", "What is left to do:", *(f"{n}. {step}" for n, step in steps)]
    return "\n".join(parts)


def _file(one: dict[str, Any], *, dry_run: bool) -> str:
    state = click.style(one["state"].ljust(9), bold=one["state"] != "unchanged")
    line = f"{state}  {one['path']} ({one['what']})"
    if one["state"] == "skipped":
        line += f"\n           {one['reason']}"
        if not dry_run:
            line += "; what belongs there:"
        line += "\n" + _indented(one["text"])
    elif dry_run and "text" in one:
        line += "\n" + _indented(one["text"])
    return line


def _indented(text: str) -> str:
    return "\n".join(f"    | {line}".rstrip() for line in text.splitlines())
