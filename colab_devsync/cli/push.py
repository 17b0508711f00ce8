"""`push`: data that goes to the VM once, however large."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import output
from .progress import Bar
from .settings import current, global_options
from .talk import Talk

_SHOWN = 5


@click.command()
@global_options(hidden=True)
@click.argument("local", required=False)
@click.argument("remote", required=False)
@click.option("--unpack", is_flag=True, help="LOCAL is a zip or tar: unpack it there.")
@click.option("--keep-archive", is_flag=True, help="With --unpack: the archive stays.")
@click.option(
    "--checkpoints",
    is_flag=True,
    help="Put the newest pulled files back; LOCAL may name one [[pull]] rule.",
)
def push(
    local: str | None,
    remote: str | None,
    unpack: bool,
    keep_archive: bool,
    checkpoints: bool,
) -> None:
    """Send the file or folder LOCAL to REMOTE on the VM.

    REMOTE is a path from /, or relative to the project's folder there. As with scp,
    LOCAL goes into REMOTE if that is a folder or ends with "/"; else it gets that name.
    A push that was cut goes on where it was when the same command is given again.
    """
    if checkpoints:
        if remote or unpack or keep_archive:
            raise click.UsageError("--checkpoints takes the name of a rule at most.")
        _run(checkpoints=True, name=local)
        return
    if not local or not remote:
        raise click.UsageError("Name LOCAL and REMOTE, or give --checkpoints.")
    if keep_archive and not unpack:
        raise click.UsageError("--keep-archive goes with --unpack.")
    _run(
        local=str(Path(local).absolute()),
        remote=remote,
        unpack=unpack,
        keepArchive=keep_archive,
    )


def _run(**arguments: Any) -> None:
    settings = current()
    with (
        Bar(settings) as bar,
        Talk(settings, notified=bar.notified, pause=bar.pause) as talk,
    ):
        try:
            done = talk.job("push", **arguments)
        except KeyboardInterrupt:
            bar.stop()
            output.note(
                "Stopped. What has arrived stays on the VM for a week: the same "
                "command sends the rest."
            )
            raise
    output.result(settings, done, _summary(done))


def _summary(done: dict[str, Any]) -> str:
    if not done["target"]:  # of no rule there was anything
        lines = ["Nothing was put back: no file is here as it was pulled."]
        return "\n".join(lines + _left_out(done))
    seconds = max(done["seconds"], 1e-3)
    what = f"{_files(done['files'])} ({output.size(done['bytes'])})"
    if done.get("unpacked") and not done["files"]:  # the archive did not stay
        what = output.size(done["sent"])
    head = f"{what} pushed to {done['target']} in {done['seconds']:.1f} s"
    if done["bytes"]:
        head += f", {output.size(done['bytes'] / seconds)}/s"
    lines = [head + "."]
    if done["same"]:
        lines.append(f"There already: {_files(done['same'])}.")
    if done["replaced"]:
        lines.append(f"Replaced there: {_some(done['replaced'])}.")
    lines += _left_out(done)
    if unpacked := done.get("unpacked"):
        size = output.size(unpacked["bytes"])
        lines.append(f"Unpacked {_files(unpacked['files'])} ({size}).")
        lines += [f"Not unpacked: {one}." for one in unpacked["skipped"]]
    return "\n".join(lines)


def _left_out(done: dict[str, Any]) -> list[str]:
    return [f"Not pushed: {one['path']}: {one['reason']}." for one in done["skipped"]]


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
