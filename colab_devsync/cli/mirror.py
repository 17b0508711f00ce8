"""`sync`, `watch`, `conflicts`, `resolve`."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import click

from ..core.events import with_path
from ..errors import Conflicts
from . import output
from .progress import Bar
from .settings import Settings, current, global_options
from .talk import Talk

_WARNINGS = 10  # as many are shown


@click.command()
@global_options(hidden=True)
@click.option("--check", is_flag=True, help="Only compare; send nothing.")
def sync(check: bool) -> None:
    """Bring the VM up to date, and return when it is."""
    settings = current()
    with (
        Bar(settings) as bar,
        Talk(settings, notified=bar.notified, pause=bar.pause) as talk,
    ):
        done = talk.job("sync", check=check)
        left_out = [p for p in talk.in_project("status")["problems"] if p["path"]]
    output.result(settings, done, _summary(done, check=check))
    _warn(left_out)
    if done["conflicts"] and not check:
        files = "1 file" if done["conflicts"] == 1 else f"{done['conflicts']} files"
        raise Conflicts(
            f"{files} changed on both sides, left alone.",
            "`colab-devsync conflicts` lists them, `colab-devsync resolve` decides.",
        )


@click.command()
@global_options(hidden=True)
def watch() -> None:
    """Stay in front and print what happens, until ctrl-C."""
    settings = current()
    events = _Events(settings)
    with Talk(settings, notified=events.notified, heard=True) as talk:
        talk.job("connect")
        forever: Future[None] = talk.client.closed
        talk.client.run_until(forever)


@click.command()
@global_options(hidden=True)
def conflicts() -> None:
    """List the files that changed on both sides."""
    settings = current()
    with Talk(settings) as talk:
        talk.status()
        found = talk.in_project("conflicts")["conflicts"]
    if settings.json:
        for conflict in found:
            output.json_line(conflict)
    elif not found:
        click.echo("No conflicts.")
    else:
        click.echo(_conflict_table(found), color=output.colour())
        click.echo("Decide with `colab-devsync resolve PATH --keep local|remote`.")


@click.command()
@global_options(hidden=True)
@click.argument("path", required=False)
@click.option("--all", "every", is_flag=True, help="All conflicts at once.")
@click.option(
    "--keep",
    type=click.Choice(("local", "remote")),
    required=True,
    help="Whose version stays.",
)
def resolve(path: str | None, every: bool, keep: str) -> None:
    """Decide a conflict: keep the local version of PATH, or take the VM's."""
    settings = current()
    if (path is None) == (not every):
        raise click.UsageError("Name one PATH, or give --all.")
    with Talk(settings) as talk:
        talk.status()
        known = _all_paths(talk)
        paths = known if path is None else [_meant(path, talk.folder, known)]
        for name in paths:
            done = talk.job("resolve", path=name, keep=keep)
            whose = "your version" if keep == "local" else "the VM's version"
            output.result(settings, done, f"{done['path']}: kept {whose}.")


def _meant(path: str, root: str, known: Sequence[str]) -> str:
    """PATH is as `conflicts` shows it, or a path of this machine."""
    real = os.path.realpath(os.path.dirname(os.path.abspath(path)))
    name = os.path.join(real, os.path.basename(path))
    inside = os.path.relpath(name, os.path.realpath(root)).replace(os.sep, "/")
    return inside if inside in known and path not in known else path


def _all_paths(talk: Talk) -> list[str]:
    return [c["path"] for c in talk.in_project("conflicts")["conflicts"]]


def _warn(left_out: Sequence[dict[str, Any]]) -> None:
    """Which files are not mirrored, and why."""
    for problem in left_out[:_WARNINGS]:
        text = with_path(problem["path"], problem["message"])
        output.note(f"warning: {text} {problem['hint']}".rstrip())
    if len(left_out) > _WARNINGS:
        more = len(left_out) - _WARNINGS
        output.note(f"warning: {more} more; `colab-devsync status` lists them all.")


def _summary(done: dict[str, Any], *, check: bool) -> str:
    if check:
        return comparison(done)
    return (
        f"{done['files']} files sent ({output.size(done['bytes'])}), "
        f"{done['deleted']} deleted, {done['conflicts']} conflicts, "
        f"in {done['seconds']:.2f} s."
    )


def comparison(done: Mapping[str, Any]) -> str:
    """What `--check` found, a line per file."""
    paths, gone = done["paths"], set(done["deletions"])
    head = f"{len(paths)} files differ" if paths else "The VM is up to date"
    lines = [
        f"  {p} (to be deleted on the VM)" if p in gone else f"  {p}" for p in paths
    ]
    return "\n".join([f"{head} (in {done['seconds']:.2f} s).", *lines])


def _conflict_table(found: list[dict[str, Any]]) -> str:
    now = time.time()
    rows = [
        (
            conflict["path"],
            conflict["here"],
            "changed" if conflict["remote_hash"] else "deleted",
            f"{output.age(max(0.0, now - conflict['since']))} ago",
            conflict["remote_copy"] or "",
        )
        for conflict in found
    ]
    return output.columns(("PATH", "HERE", "ON THE VM", "FOUND", "VM'S VERSION"), rows)


class _Events:
    """Prints notifications, each status only when it says something new."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._last = ""

    def notified(self, method: str, params: Any) -> None:
        text = self._text(method, params)
        if self._settings.json and method.startswith("colabDevsync/"):
            output.json_line({"event": method.partition("/")[2], **params})
        elif text:
            output.result(self._settings, {}, f"{time.strftime('%H:%M:%S')}  {text}")

    def _text(self, method: str, params: Any) -> str:
        if method == "colabDevsync/mirrored":
            took = f"{params['ms']:.0f} ms"
            return f"{params['path']}  {output.size(params['bytes'])} in {took}"
        if method == "colabDevsync/run":
            code = f" with {params['exitCode']}" if "exitCode" in params else ""
            return f"{params['run']}  {params['state']}{code}"
        if method == "colabDevsync/pulled":
            return f"{params['name']}/{params['path']}  {output.size(params['bytes'])}"
        if method == "window/showMessage":
            return f"warning: {params['message']}"
        if method != "colabDevsync/status":
            return ""
        parts = [params["link"], params.get("message") or ""]
        if params["conflicts"]:
            parts.append(f"{params['conflicts']} conflicts")
        parts += [
            with_path(p["path"], p["message"]) for p in params.get("problems", ())
        ]
        text = "  ".join(filter(None, parts))
        if text == self._last:
            return ""
        self._last = text
        return text
