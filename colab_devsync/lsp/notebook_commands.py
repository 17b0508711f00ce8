"""`devsync.notebook`: writes the notebook of a project's link. On the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.events import Question
from ..daemon.hub import QUESTION_TIMEOUT_S
from ..daemon.notebook import write_notebook
from .arguments import Key
from .bridge import in_thread
from .command import FOLDER, Answer, Arguments, Command
from .jobs import Job
from .questions import ask
from .server import DevsyncServer

_YES, _NO = "Overwrite", "Keep it"


def notebook(ls: DevsyncServer, args: Arguments) -> Answer:
    project = ls.folders.project(args["folder"])
    output = Path(args["output"]) if args["output"] else None

    async def operation(job: Job) -> dict[str, Any]:
        def overwrite(path: Path) -> bool:
            if args["force"]:
                return True
            text = f"{path} exists and differs. Overwrite it?"
            question = Question("overwrite", text, (_YES, _NO), safe=_NO)
            answer = asyncio.wait_for(ask(ls, question), QUESTION_TIMEOUT_S)
            asked = asyncio.run_coroutine_threadsafe(answer, ls.loop)
            try:
                return asked.result() == _YES
            except (TimeoutError, asyncio.TimeoutError):
                return False

        written = await in_thread(
            lambda: write_notebook(
                project.root, project.profile, output, overwrite=overwrite
            ),
            "notebook",
        )
        return written.as_json()

    return ls.jobs.start("devsync.notebook", "Writing the notebook", operation)


COMMANDS: Mapping[str, Command] = {
    "devsync.notebook": Command(
        {**FOLDER, "output": Key(str), "force": Key(bool)}, run=notebook
    )
}
