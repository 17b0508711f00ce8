"""`run`, `runs`, `attach`, `logs`, `stop`: programs that the VM keeps going."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from ..daemon.client import RemoteFailure
from . import output
from .run_stream import Interrupts, RunStream, exit_code
from .run_tail import STREAMS, Offsets, Tail, only
from .settings import Settings, current, global_options
from .talk import Talk
from .targets import TargetCommand, target_arguments

_LEFT = 130  # as a shell says it of ctrl-C
_tail_option = click.option(
    "--tail",
    type=click.IntRange(min=0),
    metavar="N",
    help="Of what is there already, only the last N lines of each stream.",
)


@click.command(cls=TargetCommand)
@global_options(hidden=True)
@click.option("-m", "--module", metavar="MODULE", help="Run a module, as python -m.")
@click.option("--detach", is_flag=True, help="Print the run's name and return.")
@click.option("--no-sync", is_flag=True, help="Do not wait for the mirror.")
@click.argument("file", required=False)
def run(
    file: str | None,
    args: tuple[str, ...],
    module: str | None,
    detach: bool,
    no_sync: bool,
) -> int:
    """Run FILE on the VM, or what [run] names; exit with its code.

    What is saved is on the VM first. ctrl-C stops the program; when the link, this
    terminal or the daemon goes away it goes on, and `attach` shows its output again.
    """
    settings = current()
    stream = RunStream(settings)
    with (
        stream.bar,
        Talk(settings, notified=stream.notified, pause=stream.bar.pause) as talk,
    ):
        target = target_arguments(settings, talk.folder, file, module)
        what = {**target, "args": list(args), "sync": not no_sync, "detach": detach}
        started, is_called_off = _start(talk, what)
        conflicts = started.get("conflicts", ())
        if detach:
            stream.bar.stop()
            _warn(conflicts)
            output.result(settings, started, started["run"])
            return 0
        return stay(
            settings,
            stream,
            talk,
            started["run"],
            is_called_off,
            announce=lambda: _warn(conflicts),
        )


def _start(talk: Talk, what: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The run, and whether ctrl-C came in the moment it began."""
    job = talk.in_project("run", **what)["job"]
    final = talk.client.send_request("colabDevsync/wait", {"job": job})
    is_called_off = False
    try:
        body = talk.client.run_until(final)
    except KeyboardInterrupt:
        is_called_off = True
        talk.execute("cancel", job=job)
        body = talk.client.run_until(final)
    if body["state"] == "cancelled":
        raise KeyboardInterrupt
    if body["state"] == "failed":
        raise RemoteFailure(body["error"])
    return body["result"], is_called_off


def _warn(conflicts: Sequence[str]) -> None:
    if conflicts:
        shown = ", ".join(conflicts[:5]) + (" …" if len(conflicts) > 5 else "")
        output.note(
            f"warning: in conflict, so the VM has its own version: {shown}\n"
            "`colab-devsync resolve PATH --keep local|remote` decides."
        )


def stay(
    settings: Settings,
    stream: RunStream,
    talk: Talk,
    run_id: str,
    is_called_off: bool = False,
    *,
    announce: Callable[[], None] = lambda: None,
) -> int:
    """Shows it to its end; ctrl-C stops it, a second one kills it."""

    def stop(kill: bool, text: str) -> Callable[[], None]:
        def step() -> None:
            stream.note(text)
            talk.send("stop", run=run_id, kill=kill)

        return step

    steps = (
        stop(False, f"\nstopping {run_id}; ctrl-C again kills it"),
        stop(True, f"\nkilling {run_id}; ctrl-C again leaves it"),
    )
    with Interrupts(talk, steps) as interrupts:
        stream.bar.stop()
        stream.note(f"{run_id} runs on the VM; ctrl-C stops it")
        announce()
        if is_called_off:
            interrupts.count()
        last = stream.follow(talk, run_id, on_wake=interrupts.act)
    return _finish(settings, stream, last)


def _finish(settings: Settings, stream: RunStream, last: Mapping[str, Any]) -> int:
    code = exit_code(last)
    if settings.json:
        output.json_line({"run": last["run"], "exitCode": code})
    elif last.get("message") and not stream.has_shown(last["message"]):
        output.note(f"{last['run']}: {last['message']}")
    return code


# --- looking at runs ------------------------------------------------------------------


@click.command()
@global_options(hidden=True)
@click.argument("run_id", metavar="RUN")
@_tail_option
def attach(run_id: str, tail: int | None) -> int:
    """Show RUN's output from its start, and go on to its end; exit with its code.

    ctrl-C leaves it running.
    """
    settings = current()
    stream = RunStream(settings)
    with Talk(settings, notified=stream.notified) as talk:
        try:
            offsets = _last_lines(stream, talk, run_id, tail, STREAMS)
            _listen(talk, run_id, offsets)
            last = stream.follow(talk, run_id)
        except KeyboardInterrupt:
            return _leave(run_id)
    return _finish(settings, stream, last)


@click.command()
@global_options(hidden=True)
@click.argument("run_id", metavar="RUN")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
@click.option("--stdout", "out", is_flag=True, help="Only its stdout.")
@click.option("--stderr", "err", is_flag=True, help="Only its stderr.")
@_tail_option
def logs(run_id: str, follow: bool, out: bool, err: bool, tail: int | None) -> int:
    """Show what RUN has printed so far."""
    settings = current()
    stream = RunStream(settings)
    chosen = ("stdout",) if out and not err else ("stderr",) if err and not out else ()
    with Talk(settings, notified=stream.notified) as talk:
        try:
            offsets = _last_lines(stream, talk, run_id, tail, chosen or STREAMS)
            if tail is None or follow:
                _listen(talk, run_id, offsets, follow=follow)
                stream.follow(talk, run_id)
        except KeyboardInterrupt:
            return _leave(run_id) if follow else _LEFT
    return 0


def _leave(run_id: str) -> int:
    output.note(
        f"\nleft {run_id}, which goes on; `colab-devsync stop {run_id}` ends it"
    )
    return _LEFT


def _last_lines(
    stream: RunStream,
    talk: Talk,
    run_id: str,
    tail: int | None,
    streams: tuple[str, ...],
) -> Offsets:
    """Shows them, if so many were asked for; where to go on from."""
    if tail is None:
        return only(streams) if streams != STREAMS else {}
    sizes = _listen(talk, run_id, only(()), follow=False)
    stream.follow(talk, run_id)
    lines = Tail(tail, streams)
    write, stream.write = stream.write, lines.take
    _listen(talk, run_id, lines.start(sizes), follow=False)
    stream.follow(talk, run_id)
    stream.write = write
    for body in lines.shown():
        write({"run": run_id, **body})
    return lines.end()


def _listen(
    talk: Talk, run_id: str, offsets: Offsets, *, follow: bool = True
) -> dict[str, Any]:
    """The run as it is; its output follows as notifications."""
    params = {"folder": talk.folder, "run": run_id, "follow": follow}
    found: dict[str, Any] = talk.client.request(
        "colabDevsync/attach", {**params, "offsets": offsets}
    )
    return found


@click.command()
@global_options(hidden=True)
def runs() -> None:
    """List the runs that the VM knows."""
    settings = current()
    with Talk(settings) as talk:
        if talk.in_project("status")["link"] != "lost":  # that may take for ever
            talk.job("connect")
        answer = talk.in_project("runs")
    found = answer["runs"]
    if answer.get("stale"):
        output.note("The VM did not answer; this is what was known last.")
    if settings.json:
        for one in found:
            output.json_line(one)
    elif found:
        click.echo(table(found), color=output.colour())
    else:
        click.echo("No runs.")


def table(found: Sequence[Mapping[str, Any]]) -> str:
    head = ("RUN", "STATE", "EXIT", "STARTED", "TOOK", "COMMAND")
    text = output.columns(head, [_row(one) for one in found])
    return "\n".join(line.rstrip() for line in text.splitlines())


def _row(run: Mapping[str, Any]) -> tuple[str, ...]:
    code = run.get("exitCode")
    end = run.get("ended") or time.time()
    began = time.localtime(run["started"])
    return (
        run["run"] if run["kind"] == "run" else f"{run['run']} ({run['kind']})",
        run["state"],
        run.get("signal") or ("" if code is None else str(code)),
        time.strftime("%m-%d %H:%M:%S", began),
        output.age(max(0.0, end - run["started"])),
        command(run),
    )


def summary(run: Mapping[str, Any]) -> str:
    """A run in a line: "train-3 exited with 1: python3 train.py"."""
    how = run["state"]
    if how == "running":
        how = f"running for {output.age(max(0.0, time.time() - run['started']))}"
    elif "exitCode" in run:
        how = f"exited with {run['exitCode']}"
    return f"{run['run']} {how}: {command(run)}"


def command(run: Mapping[str, Any]) -> str:
    """What a person would have typed in the project's folder."""
    words = [word.removeprefix(f"{run['cwd']}/") for word in run["argv"]]
    if words[1:2] == ["-u"]:
        del words[1]
    return shlex.join(words)


@click.command()
@global_options(hidden=True)
@click.argument("run_id", metavar="RUN", required=False)
@click.option("--kill", is_flag=True, help="At once: no INT and TERM before KILL.")
def stop(run_id: str | None, kill: bool) -> None:
    """Stop RUN and all it started: INT, five seconds later TERM, then KILL.

    Without RUN, the only one that runs.
    """
    settings = current()
    stream = RunStream(settings)
    with Talk(settings, notified=stream.notified) as talk:
        talk.job("connect")
        found = talk.in_project("stop", run=run_id, kill=kill)
        if found["state"] == "running":
            _listen(talk, found["run"], only(()))
            found = {**found, **stream.follow(talk, found["run"])}
    code = found.get("exitCode")
    how = found.get("signal") or f"exit code {code}" if code is not None else "lost"
    keys = ("run", "state", "exitCode", "signal", "message")
    shown = {key: found[key] for key in keys if key in found}
    output.result(settings, shown, f"{found['run']} has ended: {how}.")
