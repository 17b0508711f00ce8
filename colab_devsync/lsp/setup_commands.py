"""`devsync.setup`: writes an editor's own files. On the loop; threads work."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.events import Question
from ..daemon.editors import EDITORS, UPLOADERS, compose
from . import questions
from .arguments import BadArguments, Key
from .bridge import in_thread
from .command import FOLDER, Answer, Arguments, Command
from .jobs import Job
from .server import DevsyncServer

if TYPE_CHECKING:
    from ..daemon.editors.writing import Step
    from ..daemon.hub import Project

_YES, _NO = "Write", "No"


def setup(ls: DevsyncServer, args: Arguments) -> Answer:
    editor, upload_by = args["editor"], args["uploadBy"] or "daemon"
    if upload_by != "daemon" and editor != "pycharm":
        raise BadArguments(f"'uploadBy' is for pycharm, not for {editor}.")
    project = ls.folders.project(args["folder"])
    root = Path(ls.folders.name(project))

    async def operation(job: Job) -> dict[str, Any]:
        from ..daemon.editors import facts, writing

        def planned() -> tuple[list[Step], list[str]]:
            access = project.session.ssh.access
            known = facts.gather(root, project.profile, access, upload_by)
            made = compose(editor, known)
            return writing.plan(made.files), list(made.steps)

        files, steps = await in_thread(planned, "setup")
        if not args["dryRun"]:
            if not args["yes"] and not await _agreed(ls, project, files):
                files = writing.refuse(files, "nobody agreed to change it")
            files = await in_thread(lambda: writing.write(files), "setup")
        return {
            "editor": editor,
            "files": [one.as_json(with_text=bool(args["dryRun"])) for one in files],
            "steps": steps,
        }

    return ls.jobs.start("devsync.setup", f"Setting up {editor}", operation)


async def _agreed(ls: DevsyncServer, project: Project, files: list[Step]) -> bool:
    asked = [one for one in files if one.needs_consent]
    if not asked:
        return True
    names = "\n".join(f"  {one.file.path} ({one.file.what})" for one in asked)
    verb = "Change" if all(one.old is not None for one in asked) else "Write or change"
    question = Question(
        kind="setup",
        text=f"{verb} these files? What stands in them is kept.\n{names}",
        choices=(_YES, _NO),
        safe=_NO,
    )
    return await questions.ask(ls, question) == _YES


COMMANDS: Mapping[str, Command] = {
    "devsync.setup": Command(
        {
            **FOLDER,
            "editor": Key(str, required=True, choices=EDITORS),
            "dryRun": Key(bool),
            "yes": Key(bool),
            "uploadBy": Key(str, choices=UPLOADERS),
        },
        run=setup,
    ),
}
