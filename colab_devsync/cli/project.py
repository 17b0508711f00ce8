"""`init`: a new project's configuration. Needs no daemon."""

from __future__ import annotations

import sys
from typing import Any

import click

from ..core.config import CONFIG_NAME
from ..daemon import scaffold
from ..errors import ConfigError
from . import output
from .settings import current, global_options

_NEXT = {"relay": ("relay setup", "notebook"), "ngrok": ("notebook", "connect")}


@click.command()
@global_options(hidden=True)
@click.option("--provider", type=click.Choice(scaffold.PROVIDERS), help="The link.")
@click.option("--name", help="The project's name (default: the folder's).")
@click.option("--host", help="direct: the VM's host name or address.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="direct: its SSH port; relay: where that listens for the VM.",
)
@click.option("--relay", metavar="[USER@]HOST[:PORT]", help="relay: your SSH server.")
@click.option("--session", help="colab: the session's name.")
@click.option("--proxy-command", metavar="LINE", help="command: program and arguments.")
@click.option("--user", help="The user on the VM (default: root).")
@click.option("--identity-file", help="The private key (default: agent, usual files).")
@click.option("--remote-root", help="The project's folder on the VM.")
def init(**chosen: Any) -> None:
    """Write .colabremote.toml (asks for what no option says; never overwrites)."""
    settings = current()
    folder = settings.start
    path = folder / CONFIG_NAME
    if path.exists():
        raise ConfigError(
            f"{path} exists already; nothing was written.",
            "Edit it, or remove it first.",
        )
    if sys.stdin.isatty() and not settings.json:
        _ask_for_the_rest(chosen)
    elif chosen["provider"] is None:
        raise ConfigError(
            "There is no terminal to ask, and no --provider was given.",
            f"Add --provider {' or '.join(scaffold.PROVIDERS)}.",
        )
    written = scaffold.write_new(folder, chosen)
    steps = _NEXT.get(chosen["provider"] or "", ("doctor", "sync"))
    text = f"Wrote {written}. Next: `colab-devsync {'`, `colab-devsync '.join(steps)}`."
    output.result(settings, {"path": str(written)}, text)


def _ask_for_the_rest(chosen: dict[str, Any]) -> None:
    if chosen["provider"] is None:
        chosen["provider"] = click.prompt(
            "How is the VM reached",
            type=click.Choice(scaffold.PROVIDERS),
            default=scaffold.PROVIDERS[0],
        )
    if chosen["provider"] == "relay" and chosen["relay"] is None:
        chosen["relay"] = click.prompt("Your SSH server (me@vps.example.com:22)")
    if chosen["provider"] == "command" and chosen["proxy_command"] is None:
        chosen["proxy_command"] = click.prompt("Program and arguments")
    if chosen["provider"] != "direct":
        return
    if chosen["host"] is None:
        chosen["host"] = click.prompt("Host name or address of the VM")
    if chosen["port"] is None:
        chosen["port"] = click.prompt(
            "SSH port", type=click.IntRange(1, 65535), default=22
        )
    if chosen["user"] is None:
        chosen["user"] = click.prompt("User on the VM", default="root")
