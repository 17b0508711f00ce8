"""`devsync.forward`: opens, lists and closes ports of the VM on this machine. On the
loop; the engine keeps them for as long as the session lives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .arguments import BadArguments, Key
from .bridge import settle
from .command import FOLDER, Answer, Arguments, Command
from .jobs import Job
from .server import DevsyncServer

_MAX_PORT = 65535


def forward(ls: DevsyncServer, args: Arguments) -> Answer:
    project = ls.folders.project(args["folder"])
    remote = _port("remotePort", args["remotePort"], lowest=1)
    local = _port("localPort", args["localPort"] or 0, lowest=0)
    forwards = project.session.forwards

    async def open_it(job: Job) -> dict[str, Any]:
        job.say("connecting")
        return (await settle(forwards.open(remote, local))).as_json()

    async def close_it(job: Job) -> dict[str, Any]:
        closed = await settle(forwards.close(local or remote))
        return {"closed": [info.as_json() for info in closed]}

    operation = close_it if args["close"] else open_it
    return ls.jobs.start("devsync.forward", f"Forwarding port {remote}", operation)


def _port(name: str, value: int, lowest: int) -> int:
    if not lowest <= value <= _MAX_PORT:
        raise BadArguments(
            f"devsync.forward: {name!r} can't be {value}.",
            f"Expected a port from {lowest} to {_MAX_PORT}.",
        )
    return value


COMMANDS: Mapping[str, Command] = {
    "devsync.forward": Command(
        {
            **FOLDER,
            "remotePort": Key(int, required=True),
            "localPort": Key(int),
            "close": Key(bool),
        },
        run=forward,
    ),
}
