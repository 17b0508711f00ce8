"""`devsync.install`: pip on the VM, into the project's Python. On the loop.

What pip says is the job's progress and goes to the client's log; what it says last is
the error when it fails.
"""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Mapping
from typing import Any

from ..core.events import Progress
from ..daemon.hub import Project
from ..errors import RunError
from . import protocol, showing
from .arguments import BadArguments, Key
from .bridge import post, settle
from .command import FOLDER, Answer, Arguments, Command
from .jobs import Job
from .processes import Text
from .server import DevsyncServer

# As far as a person would type it: name, extras, versions; no options, no URLs.
_REQUIREMENT = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?(?:\[[A-Za-z0-9._, -]+\])?"
    r"(?:\s*(?:===?|~=|!=|<=?|>=?)\s*[A-Za-z0-9.*+!_-]+,?)*"
)
_OPTIONS = ("--no-input", "--disable-pip-version-check", "--progress-bar", "off")
_SAID_LAST = 6  # lines


def install(ls: DevsyncServer, args: Arguments) -> Answer:
    project = ls.folders.project(args["folder"])
    packages = args["packages"]
    wrong = [one for one in packages if not _is_requirement(one)]
    if wrong or not packages:
        raise BadArguments(
            f"devsync.install can't install {wrong[0]!r}." if wrong else "No packages.",
            'Name what pip knows, as in "numpy" or "torch>=2".',
        )

    async def operation(job: Job) -> dict[str, Any]:
        return await _Install(ls, project, job, packages).run()

    return ls.jobs.start(
        "devsync.install", f"pip install {' '.join(packages)}", operation
    )


def _is_requirement(text: object) -> bool:
    return isinstance(text, str) and _REQUIREMENT.fullmatch(text) is not None


class _Install:
    def __init__(
        self, ls: DevsyncServer, project: Project, job: Job, packages: list[str]
    ) -> None:
        self._ls = ls
        self._project = project
        self._job = job
        self._packages = packages
        self._texts: dict[str, Text] = {}
        self._lines: list[str] = []

    async def run(self) -> dict[str, Any]:
        from ..engine.programs.process import ExecSpec  # loaded with the first session
        from ..engine.project import load_project

        config = load_project(self._project.root, self._project.profile)
        words = ("-m", "pip", "install", *_OPTIONS, *self._packages)
        shown = shlex.join([config.remote.python, "-m", "pip", "install"])
        showing.log(self._ls, f"on the VM: {shown} {shlex.join(self._packages)}")
        # The shell finds the home folder of a python that is named "~/...".
        start = f'exec {_shell_name(config.remote.python)} "$@"'
        spec = ExecSpec(("sh", "-c", start, "sh", *words))
        remote = await settle(self._project.session.exec(spec, self._heard))
        try:
            remote.close_stdin()
            code = await settle(remote.exit_code)
        except asyncio.CancelledError:
            remote.close()
            raise
        if code:
            said = "\n".join(self._lines[-_SAID_LAST:])
            raise RunError(
                f"pip on the VM ended with code {code}:\n{said}",
                f"`colab-devsync exec -- {shown} …` shows all of it.",
            )
        self._project.session.glance.forget()
        return {"packages": self._packages}

    def _heard(self, stream: str, data: bytes) -> None:
        """On the program's thread."""
        post(self._ls.loop, lambda: self._tell(stream, data))

    def _tell(self, stream: str, data: bytes) -> None:
        text = self._texts.setdefault(stream, Text())
        body = text.body(self._job.id, stream, data)
        lines = [line for line in body["text"].splitlines() if line.strip()]
        self._lines = (self._lines + lines)[-100:]
        folder = self._ls.folders.name(self._project)
        self._ls.tell(protocol.OUTPUT, protocol.RunOutputBody(**body, folder=folder))
        if lines:
            self._job.report(Progress(lines[-1].strip()[:200]))
            showing.log(self._ls, "\n".join(lines))


def _shell_name(python: str) -> str:
    from ..remote.bootstrap import shell_name  # loaded with the first session

    return shell_name(python)


COMMANDS: Mapping[str, Command] = {
    "devsync.install": Command(
        {**FOLDER, "packages": Key(list, required=True)}, run=install
    ),
}
