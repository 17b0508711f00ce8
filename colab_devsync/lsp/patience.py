"""Says that a long command waits for a VM that is out of reach. On the loop.

The command goes on by itself: without a word it would only look as if it hung.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from lsprotocol import types

if TYPE_CHECKING:
    from ..daemon.hub import Project
    from .command import Answer, Arguments
    from .server import DevsyncServer

_LOOK_S = 3.0  # what is over sooner needs no word
_NEED_THE_VM = frozenset(
    f"devsync.{name}"
    for name in [
        "connect",
        "run",
        "debug",
        "sync",
        "pull",
        "push",
        "tensorboard",
        "forward",
        "install",
        "sshConfig",
    ]
)


def watch(ls: DevsyncServer, name: str, args: Arguments, answer: Answer) -> None:
    """`answer` is that of the command `name`."""
    if name in _NEED_THE_VM:
        job = ls.jobs.get(answer["job"])
        attend(ls, ls.folders.project(args["folder"]), job.title, job.finished)


def attend(
    ls: DevsyncServer, project: Project, title: str, done: asyncio.Future[Any]
) -> None:
    """Until `done`. `title` says what it is that waits."""
    ls.spawn(_watch(ls, project, title, done))


async def _watch(
    ls: DevsyncServer, project: Project, title: str, done: asyncio.Future[Any]
) -> None:
    while True:
        await asyncio.wait({done}, timeout=_LOOK_S)
        if done.done():
            return
        if project.session.status().link == "lost":
            break
    text = f"{title} waits: the VM does not answer. It goes on when the VM is back."
    params = types.ShowMessageParams(types.MessageType.Warning, text)
    ls.tell(types.WINDOW_SHOW_MESSAGE, params)
