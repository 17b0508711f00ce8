"""`exec`: any command on the VM, its bytes unchanged in both directions."""

from __future__ import annotations

import click

from . import foreground
from .settings import current, global_options


@click.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@global_options(hidden=True)
@click.option("--cwd", default=".", help="Folder, relative to the project's.")
@click.option(
    "-t", "--tty", is_flag=True, help="At a terminal, for programs that want one."
)
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(cwd: str, tty: bool, argv: tuple[str, ...]) -> int:
    """Run ARGV on the VM, in the project's folder; exit with its code.

    Nothing is mirrored first; `colab-devsync sync` does that. With -t, output is one
    stream, and keys go to the program as they are typed; `Enter ~ .` leaves it.
    """
    return foreground.run(current(), {"argv": argv, "cwd": cwd}, tty=tty)
