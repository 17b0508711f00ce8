"""`devsync.pull`. On the loop; the engine brings files for as long as the session is
online, this only asks for it now and waits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ..errors import NotPulled
from .arguments import Key
from .bridge import settle
from .command import FOLDER, Answer, Arguments, Command
from .jobs import Job
from .server import DevsyncServer


def pull(ls: DevsyncServer, args: Arguments) -> Answer:
    project = ls.folders.project(args["folder"])
    name = args["name"]

    async def operation(job: Job) -> dict[str, Any]:
        job.say("connecting")
        pulls = project.session.pulls
        future = pulls.pull(name, progress=job.report, cancel=job.cancel)
        try:
            done = await settle(future, job.cancel)
        except NotPulled:
            # What is wrong is told with the state of the rules, and tried again.
            if not args["follow"]:
                raise
        if args["follow"]:
            job.say("waiting for new files")
            await asyncio.Event().wait()  # until the job is cancelled
        return {"files": done.files, "bytes": done.bytes}

    title = f"Pulling {name or 'files of ' + project.root.name}"
    return ls.jobs.start("devsync.pull", title, operation)


COMMANDS: Mapping[str, Command] = {
    "devsync.pull": Command(
        {**FOLDER, "name": Key(str), "follow": Key(bool)}, run=pull
    ),
}
