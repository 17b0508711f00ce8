"""The command line's connection to the daemon (or to a server in this process).

Everything runs on the main thread: what the daemon tells or asks is handled while we
wait for an answer, so ctrl-C and prompts work as everywhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import click

from .. import __version__
from ..daemon.address import current_address
from ..daemon.client import Client, RemoteFailure
from ..daemon.projects import require_root
from ..daemon.spawn import connect_or_start
from ..engine.project import load_project
from ..errors import DevsyncError
from . import output
from .settings import Server, Settings

_CLIENT = {"name": "colab-devsync-cli", "version": __version__}

IDLE = ("offline", "blocked")
"""The `link` of a session that neither is online nor tries to be."""

Notified = Callable[[str, Any], None]


class Talk:
    """One connection for one command. `notified` gets every notification; unless it
    is `heard`, what the daemon wants a person to know is printed here. `pause` takes
    away what moves on the terminal, before it says or asks something.

    A missing project is found (ConfigError) before any process is started for it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        notified: Notified | None = None,
        pause: Callable[[], None] | None = None,
        heard: bool = False,
        anywhere: bool = False,
    ) -> None:
        self.settings = settings
        start = settings.start
        self.folder = str(start if anywhere else require_root(start))
        self._notified = notified or (lambda _method, _params: None)
        self._pause = pause or (lambda: None)
        self._is_heard = heard
        self._server: Server | None = None
        self.client = self._connect()

    def __enter__(self) -> Talk:
        options = {
            "profile": self.settings.profile_name,
            "verbose": self.settings.verbose,
            "autoConnect": False,
        }
        self.client.request(
            "initialize",
            {
                "processId": os.getpid(),
                "clientInfo": _CLIENT,
                "rootUri": None,
                "capabilities": {},
                "initializationOptions": options,
            },
        )
        self.client.notify("initialized", {})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.close()
        if self._server is not None:
            self._server.close()

    def in_project(self, name: str, /, **arguments: Any) -> Any:
        """A short command's result, or a long one's `started`."""
        return self._execute(name, {"folder": self.folder, **arguments})

    def status(self, *, look: bool = False) -> dict[str, Any]:
        """The project's; with `look`, the VM is asked how it is now. ConfigError if it
        is offline and could not be online."""
        found: dict[str, Any] = self.in_project("status", look=look)
        if found["link"] in IDLE:
            self.require_config()
        return found

    def require_config(self) -> None:
        """ConfigError if the project's configuration has mistakes."""
        load_project(Path(self.folder), self.settings.profile_name)

    def send(self, name: str, **arguments: Any) -> None:
        """A command in the project whose answer nobody waits for."""
        params = _command(name, {"folder": self.folder, **arguments})
        self.client.send_request("workspace/executeCommand", params)

    def execute(self, name: str, **arguments: Any) -> Any:
        """A command that is not about the project."""
        return self._execute(name, arguments)

    def job(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """Runs a long command in the project to its end. ctrl-C cancels it there."""
        started = self.in_project(name, **arguments)
        return self.finish(started["job"])

    def finish(self, job: str) -> dict[str, Any]:
        """The job's result; its failure as RemoteFailure."""
        final = self.client.send_request("colabDevsync/wait", {"job": job})
        try:
            body = self.client.run_until(final)
        except KeyboardInterrupt:
            self._execute("cancel", {"job": job})
            self.client.run_until(final)
            raise
        if body["state"] == "cancelled":
            raise KeyboardInterrupt
        if body["state"] == "failed":
            raise RemoteFailure(body["error"])
        result: dict[str, Any] = body["result"]
        return result

    def _execute(self, name: str, argument: dict[str, Any]) -> Any:
        return self.client.request("workspace/executeCommand", _command(name, argument))

    def _connect(self) -> Client:
        profile = self.settings.profile_name
        if self.settings.in_process:
            if self.settings.start_server is None:
                raise DevsyncError("This program has no server of its own to run.")
            self._server = self.settings.start_server(profile)
            connection = self._server.socket
        else:
            connection = connect_or_start(current_address(), profile=profile)[0]
        return Client(connection, on_notification=self._told, on_request=self._asked)

    def _told(self, method: str, params: Any) -> None:
        if method == "window/showMessage" and not self._is_heard:
            self._pause()
            output.note(params["message"])
        self._notified(method, params)

    def _asked(self, method: str, params: Any) -> Any:
        if method == "window/showMessageRequest":
            self._pause()
            return _prompt(params)
        raise NotImplementedError(method)


def _command(name: str, argument: dict[str, Any]) -> dict[str, Any]:
    return {"command": f"devsync.{name}", "arguments": [argument]}


def _prompt(params: dict[str, Any]) -> dict[str, str] | None:
    """A question to the person at the terminal; nobody there means no answer."""
    titles = [action["title"] for action in params.get("actions") or ()]
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        output.note(f"{params['message']}\nNot answered: there is no terminal to ask.")
        return None
    try:
        answer = click.prompt(params["message"], type=click.Choice(titles), err=True)
    except click.Abort:
        return None
    return {"title": answer}
