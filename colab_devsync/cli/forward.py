"""`forward`: ports of the VM on this machine, kept open by the daemon."""

from __future__ import annotations

from typing import Any

import click

from . import output
from .settings import Settings, current, global_options
from .talk import Talk

_PORT = click.IntRange(1, 65535)


@click.command()
@global_options(hidden=True)
@click.argument("remote_port", required=False, type=_PORT)
@click.argument("local_port", required=False, type=_PORT)
@click.option("--close", is_flag=True, help="Close it: its local or its remote port.")
def forward(remote_port: int | None, local_port: int | None, close: bool) -> None:
    """Reach REMOTE_PORT of the VM at 127.0.0.1:LOCAL_PORT, and return.

    The daemon keeps the forward open while it holds the session: as long as a client
    or a connection is there, and ten minutes more. A local port that is taken moves to
    the next free one. Without ports, lists what is open.
    """
    settings = current()
    if close and remote_port is None:
        raise click.UsageError("Name the port to close.")
    with Talk(settings) as talk:
        if remote_port is None:
            _list(settings, talk.status()["forwards"])
        elif close:
            port = local_port or remote_port
            done = talk.job("forward", remotePort=port, close=True)
            for info in done["closed"]:
                output.result(settings, info, f"closed: {_described(info)}")
        else:
            info = talk.job("forward", remotePort=remote_port, localPort=local_port)
            _tell_opened(settings, info)


def _tell_opened(settings: Settings, info: dict[str, Any]) -> None:
    output.result(settings, info, info["url"])
    if "movedFrom" in info and not settings.json:
        output.note(
            f"Port {info['movedFrom']} of this machine is taken; "
            f"{info['localPort']} was the next free one."
        )


def _list(settings: Settings, forwards: list[dict[str, Any]]) -> None:
    if settings.json:
        for info in forwards:
            output.json_line(info)
    elif not forwards:
        click.echo("No forwards are open.")
    else:
        rows = [
            (
                info["name"],
                str(info["remotePort"]),
                _address(info),
                str(info["connections"]),
            )
            for info in forwards
        ]
        head = ("NAME", "ON THE VM", "HERE", "CONNECTIONS")
        click.echo(output.columns(head, rows), color=output.colour())


def _address(info: dict[str, Any]) -> str:
    return f"127.0.0.1:{info['localPort']}"


def _described(info: dict[str, Any]) -> str:
    return f"{_address(info)}, port {info['remotePort']} of the VM"
