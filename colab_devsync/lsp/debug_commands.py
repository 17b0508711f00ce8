"""`devsync.debug` and `devsync.tensorboard`: programs on the VM that speak to this
machine through a forwarded port. On the loop; the engine keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.debugging import DebugRequest
from ..daemon.hub import Project
from .arguments import BadArguments, Key
from .bridge import settle
from .command import FOLDER, Answer, Arguments, Command
from .jobs import Job
from .run_commands import PROGRAM, spec_of
from .server import DevsyncServer

_WAIT_S = 60  # for somebody to attach


def debug(ls: DevsyncServer, args: Arguments) -> Answer:
    """The debuggee's own output follows only if it is asked for with `listen`: what
    an editor shows comes from the debugger."""
    project = ls.folders.project(args["folder"])
    request = request_of(project, args)

    async def operation(job: Job) -> dict[str, Any]:
        job.say("starting the debugger")
        target = await settle(
            project.session.debugger.start(
                request, progress=job.report, cancel=job.cancel
            ),
            job.cancel,
        )
        if args["listen"] and target.run is not None:
            ls.runs.listen(project, target.run)
        return target.as_json(ls.folders.name(project))

    what = request.run or request.pid or request.file or request.module
    title = f"Debugging {what or project.root.name}"
    return ls.jobs.start("devsync.debug", title, operation)


def request_of(project: Project, args: Arguments) -> DebugRequest:
    """BadArguments, RunError."""
    named = [key for key in ("file", "module", "run", "pid") if args[key]]
    if len(named) > 1:
        raise BadArguments(f"devsync.debug takes one of {' and '.join(named)}.")
    wait_s = _WAIT_S if args["wait"] is None else args["wait"]
    if wait_s < 1:
        raise BadArguments("'wait' has to be at least one second.")
    spec = spec_of(project, args)
    return DebugRequest(
        file=spec.file,
        module=spec.module,
        args=spec.args,
        pid=args["pid"],
        run=args["run"],
        wait_s=float(wait_s),
        sync=args["sync"] is not False,
        local_port=args["port"] or 0,
        subprocesses=args["subProcess"],
    )


def tensorboard(ls: DevsyncServer, args: Arguments) -> Answer:
    project = ls.folders.project(args["folder"])

    async def operation(job: Job) -> dict[str, Any]:
        job.say("looking for a TensorBoard that runs")
        board = await settle(
            project.session.tensorboard.open(
                args["logdir"], progress=job.report, cancel=job.cancel
            ),
            job.cancel,
        )
        return board.as_json()

    return ls.jobs.start("devsync.tensorboard", "Opening TensorBoard", operation)


COMMANDS: Mapping[str, Command] = {
    "devsync.debug": Command(
        {
            **FOLDER,
            **PROGRAM,
            "run": Key(str),
            "pid": Key(int),
            "wait": Key(int),
            "port": Key(int),
            "subProcess": Key(bool),
            "listen": Key(bool),
        },
        run=debug,
    ),
    "devsync.tensorboard": Command({**FOLDER, "logdir": Key(str)}, run=tensorboard),
}
