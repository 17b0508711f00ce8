"""`daemon`, `lsp`, `demo`, `completion`: what surrounds the work."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import click

from ..daemon.address import Address, current_address
from ..daemon.client import Client, DaemonGone
from ..daemon.dial import NotRunning, dial
from ..daemon.lock import FileLock
from ..errors import Busy, DevsyncError
from . import output
from .settings import Settings, current, global_options

_STOP_TIMEOUT_S = 10.0


@click.group()
@global_options(hidden=True)
def daemon() -> None:
    """The background process that all editors and terminals share."""


@daemon.command("status")
@global_options(hidden=True)
def daemon_status() -> None:
    """Show whether it runs, and what it looks after."""
    settings, address = current(), current_address()
    try:
        body = _ask(address, stop=False)
    except NotRunning:
        body = {"running": False, "log": str(address.log)}
        output.result(settings, body, f"No daemon runs. Its log: {address.log}")
        return
    body = {"running": True, **body, "log": str(address.log)}
    output.result(settings, body, _describe(body))


@daemon.command("stop")
@global_options(hidden=True)
def daemon_stop() -> None:
    """End it; editors start a new one when they need it."""
    settings, address = current(), current_address()
    try:
        body = _ask(address, stop=True)
    except NotRunning:
        output.result(settings, {"stopped": False}, "No daemon runs.")
        return
    _wait_for_end(address, body["pid"])
    done = {"stopped": True, "pid": body["pid"]}
    output.result(settings, done, f"The daemon (process {body['pid']}) has ended.")


@click.command()
@global_options(hidden=True)
@click.option("--stdio", is_flag=True, help="Accepted because some editors add it.")
@click.option("--clientProcessId", "client", hidden=True)  # the same
def lsp(stdio: bool, client: str | None) -> int:
    """Speak LSP on stdin and stdout; editors start this."""
    from ..daemon import pump

    settings = current()
    if not settings.in_process:
        return pump.run(settings.profile)
    server = _own_server(settings)
    try:
        return pump.carry(server.socket)
    finally:
        server.close()


@click.command()
@global_options(hidden=True)
def demo() -> None:
    """Show the main job on an example project, without any VM."""
    from . import demo as script

    settings = current()
    done = script.run(quiet_stdout=settings.json)
    output.result(settings, done, "")


@click.command()
@global_options(hidden=True)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    For bash: eval "$(colab-devsync completion bash)" in ~/.bashrc.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # click knows all three
    root = context.find_root().command
    variable = "_COLAB_DEVSYNC_COMPLETE"
    script = kind(root, {}, "colab-devsync", variable)
    click.echo(script.source_template % script.source_vars())


def _own_server(settings: Settings) -> Any:
    if settings.start_server is None:
        raise DevsyncError("This program has no server of its own to run.")
    return settings.start_server(settings.profile)


def _ask(address: Address, *, stop: bool) -> dict[str, Any]:
    connection, _ = dial(address)
    client = Client(
        connection, on_notification=lambda *_: None, on_request=lambda *_: None
    )
    with client:
        client.request(
            "initialize",
            {
                "processId": None,
                "rootUri": None,
                "capabilities": {},
                "clientInfo": {"name": "colab-devsync-cli"},
            },
        )
        body: dict[str, Any] = client.request("colabDevsync/daemon", {"stop": stop})
        if stop:
            with contextlib.suppress(DaemonGone):
                client.run_until(client.closed)
    return body


def _wait_for_end(address: Address, pid: int) -> None:
    """The lock is free when the process has ended, whatever it did last."""
    lock, deadline = FileLock(address.lock), time.monotonic() + _STOP_TIMEOUT_S
    while not lock.try_acquire():
        if time.monotonic() > deadline:
            raise Busy(
                f"The daemon (process {pid}) was told to end but still runs.",
                f"End that process; see {address.log}.",
            )
        time.sleep(0.01)
    lock.release()


def _describe(body: dict[str, Any]) -> str:
    projects = [
        f"{' with profile '.join(filter(None, (p['name'], p.get('profile'))))}: "
        f"{p['link']} ({p['folder']})"
        for p in body["projects"]
    ]
    return output.table(
        [
            ("daemon", f"process {body['pid']}, version {body['version']}"),
            ("clients", f"{body['clients'] - 1} besides this one"),
            ("projects", "\n".join(projects) or "none"),
            ("log", body["log"]),
        ]
    )
