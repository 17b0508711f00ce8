"""`devsync.sshConfig`: how plain `ssh` reaches the VM. On the loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import DevsyncError
from . import operations
from .command import Answer, Arguments, Command
from .jobs import Job
from .server import DevsyncServer


def ssh_config(ls: DevsyncServer, args: Arguments) -> Answer:
    """Connects first: the port and the host key are the session's."""
    project = ls.folders.project(args["folder"])

    async def operation(job: Job) -> dict[str, Any]:
        await operations.connect(project, job)
        access, problem = project.session.ssh.access, project.session.ssh.problem
        if access is None:
            raise DevsyncError(
                problem.message if problem else "This link has no SSH server.",
                "`colab-devsync status` says more.",
            )
        return access.as_json()

    return ls.jobs.start("devsync.sshConfig", "Finding the SSH server", operation)


COMMANDS: Mapping[str, Command] = {"devsync.sshConfig": Command(run=ssh_config)}
