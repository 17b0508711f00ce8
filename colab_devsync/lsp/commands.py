"""`workspace/executeCommand`: the commands and what they take. On the loop.

Short commands answer with their result, long ones with a job; none takes a second.
Only commands that work are registered, because clients offer what is advertised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pygls.exceptions import JsonRpcInvalidParams

from ..daemon import scaffold
from ..daemon.colab_sessions import sessions_of
from ..daemon.projects import find_root
from . import (
    conflict_commands,
    debug_commands,
    forward_commands,
    install_commands,
    notebook_commands,
    operations,
    patience,
    protocol,
    pull_commands,
    push_commands,
    run_commands,
    setup_commands,
    shell_commands,
    showing,
    ssh_commands,
)
from .arguments import BadArguments, Key, parse
from .bridge import settle
from .command import FOLDER, Answer, Arguments, Command
from .jobs import Job
from .server import DevsyncServer, Refused

_ANSWER_WITHIN_S = 0.9
_LOOK_S = 0.7  # for the VM to say how full its disk is


def connect(ls: DevsyncServer, args: Arguments) -> Answer:
    project = ls.folders.project(args["folder"])
    # A terminal waits for the link only; an editor shows the first mirror as well.
    work = operations.connect if ls.options.is_cli else operations.connect_and_mirror

    async def operation(job: Job) -> dict[str, Any]:
        if args["forgetHostKey"]:
            await settle(project.session.forget_host_key())
        status = await work(project, job, args["endpoint"])
        return ls.folders.status(project, status)

    title = f"Connecting {project.root.name}"
    return ls.jobs.start("devsync.connect", title, operation)


async def disconnect(ls: DevsyncServer, args: Arguments) -> Answer:
    project = ls.folders.project(args["folder"])
    ended = settle(project.session.disconnect())
    try:
        status = await asyncio.wait_for(ended, _ANSWER_WITHIN_S)
    except (TimeoutError, asyncio.TimeoutError):
        status = project.session.status()
    return ls.folders.status(project, status)


async def status(ls: DevsyncServer, args: Arguments) -> Answer:
    project = ls.folders.project(args["folder"])
    if args["look"]:
        looked = settle(project.session.look_at_vm())
        with suppress(TimeoutError, asyncio.TimeoutError):  # then they are as they were
            await asyncio.wait_for(looked, _LOOK_S)
    body = ls.folders.status(project, project.session.standing())
    sessions = sessions_of(project.root, project.profile)
    return body if sessions is None else {**body, "sessions": sessions}


def sync(ls: DevsyncServer, args: Arguments) -> Answer:
    project = ls.folders.project(args["folder"])
    return ls.jobs.start(
        "devsync.sync",
        f"Mirroring {project.root.name}",
        lambda job: operations.sync(project, job, check=bool(args["check"])),
    )


def conflicts(ls: DevsyncServer, args: Arguments) -> Answer:
    session = ls.folders.project(args["folder"]).session
    found = session.conflicts()
    return {
        "conflicts": [
            {**asdict(one), "here": session.stands_here(one.path)} for one in found
        ]
    }


def resolve(ls: DevsyncServer, args: Arguments) -> Answer:
    project = ls.folders.project(args["folder"])
    return ls.jobs.start(
        "devsync.resolve",
        f"Resolving {args['path']}",
        lambda job: operations.resolve(project, args["path"], args["keep"]),
    )


def init(ls: DevsyncServer, args: Arguments) -> Answer:
    folder = ls.folders.new_folder(args["folder"])
    written = {key: args[key] for key in scaffold.KEYS if args[key] is not None}
    path = scaffold.write_new(folder, written)
    ls.folders.refresh()
    return {"path": str(path)}


def doctor(ls: DevsyncServer, args: Arguments) -> Answer:
    folder = args["folder"]
    start = Path(folder) if folder and "://" not in folder else None
    # It must also say something useful where there is no project.
    if start is not None and find_root(start) is None:
        project, root = None, str(start)
    else:
        project = ls.folders.project(folder)
        root = str(project.root)
    return ls.jobs.start(
        "devsync.doctor",
        "Checking everything",
        lambda job: operations.doctor(project, root, job),
    )


def cancel(ls: DevsyncServer, args: Arguments) -> Answer:
    return {"job": args["job"], "cancelled": ls.jobs.cancel(args["job"])}


COMMANDS: Mapping[str, Command] = {
    "devsync.connect": Command(
        {**FOLDER, "endpoint": Key(str), "forgetHostKey": Key(bool)}, run=connect
    ),
    "devsync.disconnect": Command(wait=disconnect),
    "devsync.status": Command({**FOLDER, "look": Key(bool)}, wait=status),
    "devsync.sync": Command({**FOLDER, "check": Key(bool)}, run=sync),
    "devsync.conflicts": Command(run=conflicts),
    "devsync.resolve": Command(
        {
            **FOLDER,
            "path": Key(str, required=True),
            "keep": Key(str, required=True, choices=("local", "remote")),
        },
        run=resolve,
    ),
    "devsync.init": Command(
        {**FOLDER, **{key: Key(kind) for key, kind in scaffold.KEYS.items()}},
        run=init,
    ),
    "devsync.doctor": Command(run=doctor),
    "devsync.cancel": Command({"job": Key(str, required=True)}, run=cancel),
    **conflict_commands.COMMANDS,
    **debug_commands.COMMANDS,
    **forward_commands.COMMANDS,
    **notebook_commands.COMMANDS,
    **pull_commands.COMMANDS,
    **push_commands.COMMANDS,
    **install_commands.COMMANDS,
    **run_commands.COMMANDS,
    **setup_commands.COMMANDS,
    **shell_commands.COMMANDS,
    **ssh_commands.COMMANDS,
}


def register(server: DevsyncServer) -> None:
    for name, command in COMMANDS.items():
        server.command(name)(handler(name, command))


def handler(name: str, command: Command) -> Callable[..., Any]:
    """For a command, and for a request of our own."""

    keys = {**command.keys, "show": Key(bool)}

    def shown(ls: DevsyncServer, args: Arguments, answer: Answer) -> Answer:
        if args["show"]:
            showing.show(ls, name, answer)
        patience.watch(ls, name, args, answer)
        return answer

    # `*args`: pygls counts named parameters and refuses VS Code's additional ones.
    def now(ls: DevsyncServer, *args: Any) -> Any:
        assert command.run is not None
        try:
            parsed = parse(name, keys, args)
            return shown(ls, parsed, command.run(ls, parsed))
        except Exception as error:
            raise failure(error, ls) from error

    async def later(ls: DevsyncServer, *args: Any) -> Any:
        assert command.wait is not None
        try:
            parsed = parse(name, keys, args)
            return shown(ls, parsed, await command.wait(ls, parsed))
        except Exception as error:
            raise failure(error, ls) from error

    return now if command.run is not None else later


def failure(error: Exception, ls: DevsyncServer) -> Refused:
    """An error as a JSON-RPC answer; `data` says all of it."""
    invalid = isinstance(error, BadArguments)
    code = JsonRpcInvalidParams.CODE if invalid else protocol.FAILED_CODE
    body = protocol.error_body(error, verbose=ls.options.verbose)
    text = " ".join(filter(None, (body["message"], body["hint"])))
    return Refused(text, code, body)
