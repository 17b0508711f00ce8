"""`shell`: the VM user's own shell, in the project's folder."""

from __future__ import annotations

import sys

import click

from ..daemon.client import RemoteFailure
from ..errors import LinkLost
from . import foreground
from .settings import current, global_options


@click.command()
@global_options(hidden=True)
def shell() -> int:
    """Open a shell on the VM, in the project's folder; exit with its code.

    It has the notebook's environment. Keys go to the VM as they are typed; `Enter ~ .`
    leaves, also when the link hangs. Without a terminal, commands are read from stdin.
    """
    settings = current()
    is_typed = sys.stdin is not None and sys.stdin.isatty()
    at_terminal = is_typed and not settings.json
    try:
        return foreground.run(settings, {"shell": True}, tty=at_terminal)
    except RemoteFailure as error:
        if error.code != LinkLost.__name__:
            raise
        raise LinkLost(
            f"The link was lost, and with it the shell has ended ({error.message})",
            "The connection comes back by itself: run `colab-devsync shell` again.",
        ) from error
