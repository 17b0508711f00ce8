"""What the long commands do with a session. On the loop, inside a job's task."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from .bridge import in_thread, settle

if TYPE_CHECKING:
    from ..core.events import Status
    from ..daemon.hub import Project
    from .jobs import Job


_WANTED = ("connecting", "online", "lost")


async def connect(project: Project, job: Job, endpoint: str | None = None) -> Status:
    job.say("connecting")
    was_wanted = project.session.status().link in _WANTED
    try:
        return await settle(project.session.connect(endpoint))
    except asyncio.CancelledError:
        # What was under way before goes on, for the pulls for instance. Others who
        # look at this project may want it online; and who comes just now may have
        # found it so.
        is_ours = not (was_wanted or project.is_shared(job.client))
        if is_ours and project.session.status().link != "online":
            project.session.disconnect()
        raise


async def connect_and_mirror(
    project: Project, job: Job, endpoint: str | None = None
) -> Status:
    """For editors: the same progress bar shows the first mirror as well."""
    began = time.monotonic()
    await connect(project, job, endpoint)
    await sync(project, job, since=began)  # being online began with a comparison
    return project.session.status()


async def sync(
    project: Project, job: Job, *, check: bool = False, since: float | None = None
) -> dict[str, Any]:
    future = project.session.sync(
        check=check, progress=job.report, cancel=job.cancel, since=since
    )
    done = await settle(future, job.cancel)
    result = asdict(done)
    if not check:
        del result["paths"], result["deletions"]
    return result


async def resolve(
    project: Project, path: str, keep: Literal["local", "remote"]
) -> dict[str, Any]:
    conflict = await settle(project.session.resolve(path, keep))
    return {"path": conflict.path, "keep": keep}


async def doctor(project: Project | None, root: str, job: Job) -> dict[str, Any]:
    from ..daemon import doctor as checks

    session = project.session if project is not None else None
    profile = project.profile if project is not None else None
    found = await in_thread(
        lambda: checks.examine(root, session, job.say, profile=profile), "doctor"
    )
    good = all(check.ok is not False for check in found)
    return {"ok": good, "checks": [asdict(check) for check in found]}
