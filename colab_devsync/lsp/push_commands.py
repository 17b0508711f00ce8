"""`devsync.push`: data that goes to the VM once, however large. On the loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.pushing import PushSpec
from ..daemon.hub import Project
from .arguments import BadArguments, Key
from .bridge import settle
from .command import FOLDER, Answer, Arguments, Command
from .jobs import Job
from .local_paths import named
from .server import DevsyncServer


def push(ls: DevsyncServer, args: Arguments) -> Answer:
    project = ls.folders.project(args["folder"])
    if args["checkpoints"]:
        return _restore(ls, project, args)
    for key in ("local", "remote"):
        if not args[key]:
            raise BadArguments(f"devsync.push needs the key {key!r}.", "A string.")
    local = project.root / named(args["local"])
    spec = PushSpec(
        local=local,
        remote=args["remote"],
        unpack=bool(args["unpack"]),
        keep_archive=bool(args["keepArchive"]),
    )

    async def operation(job: Job) -> dict[str, Any]:
        pushed = project.session.pushes.start(
            spec, progress=job.report, cancel=job.cancel
        )
        return (await settle(pushed, job.cancel)).as_json()

    return ls.jobs.start("devsync.push", f"Pushing {local.name}", operation)


def _restore(ls: DevsyncServer, project: Project, args: Arguments) -> Answer:
    async def operation(job: Job) -> dict[str, Any]:
        pushed = project.session.pushes.restore(
            args["name"], progress=job.report, cancel=job.cancel
        )
        return (await settle(pushed, job.cancel)).as_json()

    return ls.jobs.start("devsync.push", "Putting checkpoints back", operation)


COMMANDS: Mapping[str, Command] = {
    "devsync.push": Command(
        {
            **FOLDER,
            "local": Key(str),
            "remote": Key(str),
            "unpack": Key(bool),
            "keepArchive": Key(bool),
            "checkpoints": Key(bool),
            "name": Key(str),
        },
        run=push,
    ),
}
