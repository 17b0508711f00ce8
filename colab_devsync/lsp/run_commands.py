"""`devsync.run`, `devsync.runs`, `devsync.stop`, and listening to a run. On the loop.

A run belongs to the project: whoever started it may leave. Its output goes to the
clients that listen, its state to all.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from ..core.runs import RunInfo, RunSpec
from ..daemon.hub import Project
from ..engine.programs.runs import Runs
from ..errors import DevsyncError, LinkError, RunError, UnknownRun
from . import patience, protocol, showing
from .arguments import BadArguments, Key
from .bridge import settle
from .command import FOLDER, Answer, Arguments, Command
from .jobs import Job
from .local_paths import named
from .server import DevsyncServer

_ANSWER_WITHIN_S = 0.8
_LIST_WITHIN_S = 0.25  # where something else has to be asked afterwards
_STOP_WITHIN_S = 0.65
T = TypeVar("T")

PROGRAM = {"file": Key(str), "module": Key(str), "args": Key(list), "sync": Key(bool)}
"""What to run: the keys of `devsync.run`, and of other commands that start one."""


def spec_of(project: Project, args: Arguments) -> RunSpec:
    """What the keys in PROGRAM mean. BadArguments, RunError."""
    words = args["args"] or ()
    if not all(isinstance(word, str) for word in words):
        raise BadArguments("'args' holds something else than strings.")
    if args["file"] and args["module"]:
        raise BadArguments("Name a file or a module, not both.")
    file = inside(project.root, args["file"]) if args["file"] else None
    return RunSpec(file=file, module=args["module"] or None, args=tuple(words))


def inside(root: Path, file: str) -> str:
    """`file` (path or URI) relative to the project. RunError if it is not in it."""
    path = root / named(file)
    for one in (path, path.resolve()):
        if one.is_relative_to(root) and ".." not in one.parts:
            if not path.is_file():
                raise RunError(f"There is no file {path}.", "Check the file's name.")
            return one.relative_to(root).as_posix()
    raise RunError(
        f"{path} is not in the project {root}.",
        "Only what is in the project is on the VM.",
    )


# --- commands -------------------------------------------------------------------------


def run(ls: DevsyncServer, args: Arguments) -> Answer:
    project = ls.folders.project(args["folder"])
    spec = spec_of(project, args)

    async def operation(job: Job) -> dict[str, Any]:
        starting = project.session.runs.start(
            spec, sync=args["sync"] is not False, progress=job.report, cancel=job.cancel
        )
        try:
            info = await settle(starting, job.cancel)
        except asyncio.CancelledError:
            starting.add_done_callback(lambda done: _stop_if_started(project, done))
            raise
        if not args["detach"]:
            if args["show"]:
                showing.show_output(ls, info.id)
            ls.runs.listen(project, info.id)
        started: dict[str, Any] = {"run": info.id, "pid": info.pid}
        conflicts = [one.path for one in project.session.conflicts()]
        return {**started, "conflicts": conflicts} if conflicts else started

    what = spec.file or spec.module or project.root.name
    return ls.jobs.start("devsync.run", f"Starting {what}", operation)


def _stop_if_started(project: Project, done: Future[RunInfo]) -> None:
    """It was called off in the moment in which it began."""
    if not done.cancelled() and done.exception() is None:
        project.session.runs.stop(done.result().id)


async def runs(ls: DevsyncServer, args: Arguments) -> Answer:
    """What the VM says; out of reach, what is known (`stale`)."""
    session = ls.folders.project(args["folder"]).session
    if session.status().link == "online":
        try:
            found = await _soon(session.runs.list())
            return {"runs": [one.as_json() for one in found]}
        except (TimeoutError, asyncio.TimeoutError, LinkError):
            pass  # `stale` says so
    found = session.runs.snapshot
    return {"runs": [one.as_json() for one in found], "stale": True}


async def stop(ls: DevsyncServer, args: Arguments) -> Answer:
    """How it stands half a second later; `colabDevsync/run` tells its end."""
    project = ls.folders.project(args["folder"])
    session = project.session
    run_id = args["run"]
    if run_id is None:
        run_id = _only(await _listed(session.runs)).id
    try:
        stopping = session.runs.stop(run_id, bool(args["kill"]))
        limit_s = _ANSWER_WITHIN_S if args["run"] else _STOP_WITHIN_S
        return (await _soon(stopping, limit_s)).as_json()
    except (TimeoutError, asyncio.TimeoutError):  # the engine goes on trying
        message = "not stopped yet; it will be when the VM answers"
        return {"run": run_id, "state": "running", "message": message}
    except UnknownRun as error:
        raise with_near(error, run_id, session.runs.snapshot) from error


async def _listed(runs: Runs) -> Sequence[RunInfo]:
    """What the VM says, or what is known while it does not answer."""
    try:
        return await _soon(runs.list(), _LIST_WITHIN_S)
    except (TimeoutError, asyncio.TimeoutError):
        return runs.snapshot


async def _soon(future: Future[T], limit_s: float = _ANSWER_WITHIN_S) -> T:
    return await asyncio.wait_for(settle(future), limit_s)


def _only(found: Sequence[RunInfo]) -> RunInfo:
    running = [one for one in found if one.state == "running"]
    if len(running) == 1:
        return running[0]
    if not running:
        raise UnknownRun(
            "No program runs on the VM, so there is nothing to stop.",
            "`colab-devsync runs` lists those that have ended.",
        )
    names = ", ".join(one.id for one in running)
    raise UnknownRun(
        f"{len(running)} programs run: {names}.",
        "Name one; `colab-devsync runs` lists them.",
    )


def with_near(error: UnknownRun, run_id: str, known: Sequence[RunInfo]) -> UnknownRun:
    """The same, with names that it could have been meant for."""
    near = difflib.get_close_matches(run_id, [one.id for one in known], n=3, cutoff=0.7)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    return UnknownRun(error.message, hint + error.hint)


# --- listening ------------------------------------------------------------------------


async def attach(ls: DevsyncServer, args: Arguments) -> Answer:
    """Answers with the run; its output and at last its state follow."""
    project = ls.folders.project(args["folder"])
    offsets = args["offsets"] or {}
    if any(not isinstance(one, int) or one < 0 for one in offsets.values()):
        raise BadArguments("'offsets' holds something else than numbers of bytes.")
    if not set(offsets) <= {"stdout", "stderr"}:
        raise BadArguments("'offsets' has the keys 'stdout' and 'stderr'.")
    listener = ls.runs.listen(
        project, args["run"], offsets, follow=args["follow"] is not False
    )
    starting = asyncio.ensure_future(listener.started())
    patience.attend(ls, project, args["run"], starting)
    try:
        return (await starting).as_json()
    except UnknownRun as error:
        known = await _known(project)
        raise with_near(error, args["run"], known) from error


async def _known(project: Project) -> Sequence[RunInfo]:
    try:
        return await settle(project.session.runs.list())
    except DevsyncError:
        return project.session.runs.snapshot


def detach(ls: DevsyncServer, args: Arguments) -> Answer:
    project = ls.folders.project(args["folder"])
    return {"run": args["run"], "detached": ls.runs.leave(project, args["run"])}


COMMANDS: Mapping[str, Command] = {
    "devsync.run": Command({**FOLDER, **PROGRAM, "detach": Key(bool)}, run=run),
    "devsync.runs": Command(wait=runs),
    "devsync.stop": Command({**FOLDER, "run": Key(str), "kill": Key(bool)}, wait=stop),
}
"""As `workspace/executeCommand`."""

REQUESTS: Mapping[str, Command] = {
    protocol.ATTACH: Command(
        {
            **FOLDER,
            "run": Key(str, required=True),
            "offsets": Key(dict),
            "follow": Key(bool),
        },
        wait=attach,
    ),
    protocol.DETACH: Command({**FOLDER, "run": Key(str, required=True)}, run=detach),
}
"""As requests of our own."""
