"""Requests of our own: wait, exec and the daemon. On the loop."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from .. import __version__
from . import protocol, run_commands
from .arguments import BadArguments, Key, parse
from .commands import failure, handler
from .server import DevsyncServer

_EXEC_KEYS = {
    "folder": Key(str),
    "argv": Key(list),
    "shell": Key(bool),
    "cwd": Key(str),
    "env": Key(dict),
    "stdin": Key(bool),
    "tty": Key(dict),
}
_SIZE_KEYS = {"rows": Key(int, required=True), "cols": Key(int, required=True)}
_TTY_KEYS = {**_SIZE_KEYS, "term": Key(str)}
_RESIZE_KEYS = {"run": Key(str, required=True), **_SIZE_KEYS}
_INPUT_KEYS = {"run": Key(str, required=True), "text": Key(str), "eof": Key(bool)}
_SIGNAL_KEYS = {"run": Key(str, required=True), "name": Key(str, required=True)}


def register(server: DevsyncServer) -> None:
    server.feature(protocol.WAIT)(wait)
    server.feature(protocol.EXEC)(_checked(protocol.EXEC, _EXEC_KEYS, start))
    server.feature(protocol.SIGNAL)(_checked(protocol.SIGNAL, _SIGNAL_KEYS, signal))
    server.feature(protocol.RESIZE)(_checked(protocol.RESIZE, _RESIZE_KEYS, resize))
    server.feature(protocol.INPUT)(write)
    for name, command in run_commands.REQUESTS.items():
        server.feature(name)(handler(name, command))
    server.feature(protocol.DAEMON)(
        _checked(protocol.DAEMON, {"stop": Key(bool)}, daemon)
    )


async def wait(ls: DevsyncServer, params: Any) -> protocol.JobBody:
    try:
        args = parse(protocol.WAIT, {"job": Key(str, required=True)}, [params])
        return await ls.jobs.get(args["job"]).finished
    except Exception as error:
        raise failure(error, ls) from error


async def write(ls: DevsyncServer, params: Any) -> dict[str, bool]:
    """Answered when the program's stdin has taken it, which holds the sender back."""
    try:
        args = parse(protocol.INPUT, _INPUT_KEYS, [params])
        process = ls.processes.get(args["run"])
        await process.write(args["text"] or "", eof=bool(args["eof"]))
        return {"ok": True}
    except Exception as error:
        raise failure(error, ls) from error


def start(ls: DevsyncServer, args: dict[str, Any]) -> protocol.ExecStarted:
    if bool(args["argv"]) == bool(args["shell"]):
        raise BadArguments(
            f"{protocol.EXEC} needs either 'argv' or 'shell'.",
            "'argv' is a list of strings; 'shell': true is the VM user's login shell.",
        )
    if args["tty"] is not None:
        args["tty"] = parse(f"{protocol.EXEC}: tty", _TTY_KEYS, [args["tty"]])
    return ls.processes.start(ls.folders.project(args["folder"]), args)


def signal(ls: DevsyncServer, args: dict[str, Any]) -> dict[str, bool]:
    ls.processes.get(args["run"]).signal(args["name"])
    return {"ok": True}


def resize(ls: DevsyncServer, args: dict[str, Any]) -> dict[str, bool]:
    ls.processes.get(args["run"]).resize(args["rows"], args["cols"])
    return {"ok": True}


def daemon(ls: DevsyncServer, args: dict[str, Any]) -> protocol.DaemonBody:
    hub = ls.hub
    if args["stop"]:
        ls.loop.call_later(0.05, hub.idle.set)  # after this answer has gone out
    return protocol.DaemonBody(
        pid=os.getpid(),
        version=__version__,
        clients=hub.clients,
        projects=[project.session.status().as_json() for project in hub.projects],
    )


def _checked(
    name: str,
    keys: Mapping[str, Key],
    handler: Callable[[DevsyncServer, dict[str, Any]], Any],
) -> Callable[..., Any]:
    def handle(ls: DevsyncServer, params: Any) -> Any:
        try:
            return handler(ls, parse(name, keys, [params]))
        except Exception as error:
            raise failure(error, ls) from error

    return handle
