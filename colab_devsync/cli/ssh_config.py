"""`ssh-config`: the alias `colab-NAME` for plain ssh. Writes local files itself."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from ..core.ssh_access import SshAccess
from ..daemon.projects import require_root
from ..daemon.ssh_config import SshConfig, block
from ..daemon.ssh_include import Include
from . import output
from .settings import Settings, current, global_options
from .talk import Talk


@click.command("ssh-config")
@global_options(hidden=True)
@click.option("--yes", is_flag=True, help="Change ~/.ssh/config without asking.")
@click.option("--print", "only_print", is_flag=True, help="Only print the block.")
@click.option("--remove", is_flag=True, help="Take everything out again.")
def ssh_config(yes: bool, only_print: bool, remove: bool) -> None:
    """Write the alias colab-NAME, for ssh, scp, rsync, Remote-SSH and PyCharm.

    The alias stands in a file of its own, ~/.ssh/colab-devsync.config; after asking,
    one Include line is put at the top of ~/.ssh/config. It works while colab-devsync
    is connected, and goes on working when the VM was replaced.
    """
    settings = current()
    if remove:
        _remove(settings)
        return
    with Talk(settings) as talk:
        access = _access(talk.job("sshConfig"))
    if only_print:
        text = block(access).rstrip("\n")
        output.result(settings, {"alias": access.alias, "text": text}, text)
        return
    config, include = SshConfig(), Include()
    config.install(access)
    included = include.is_there() or _add(settings, include, yes)
    body: dict[str, Any] = {
        **access.as_json(),
        "file": str(config.path),
        "included": included,
        "include": include.line,
    }
    output.result(settings, body, f"`ssh {access.alias}` leads to the VM.")
    if not included:
        output.note(
            f"Not yet: {include.path} was not changed. Put this line at its top:\n"
            f"  {include.line}\n"
            f"or name the file: `ssh -F {config.path} {access.alias}`."
        )


def _add(settings: Settings, include: Include, yes: bool) -> bool:
    """Whether the line was put there. Nobody to ask means no."""
    if not yes:
        if settings.json or not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        question = f"Put `{include.line}` at the top of {include.path}?"
        if not click.confirm(question, default=None, err=True):
            return False
    include.add()
    return True


def _remove(settings: Settings) -> None:
    root = os.path.realpath(require_root(settings.start))
    config, include = SshConfig(), Include()
    left = config.remove(root, settings.profile_name)
    removed = not left and include.remove()
    body = {
        "left": list(left),
        "file": str(config.path),
        "included": include.is_there(),
    }
    if left:
        text = f"The alias is gone. {config.path} still has {', '.join(left)}."
    elif removed:
        text = f"The alias is gone, and the line in {include.path} too."
    else:
        text = "The alias is gone."
    output.result(settings, body, text)
    if not left and include.backup.exists():
        output.note(f"{include.path} changed meanwhile; {include.backup} is older.")


def _access(body: dict[str, Any]) -> SshAccess:
    return SshAccess(
        alias=body["alias"],
        folder=body["folder"],
        profile=body.get("profile"),
        port=body["port"],
        user=body["user"],
        known_hosts=body["knownHosts"],
        identity_file=body.get("identityFile"),
    )
