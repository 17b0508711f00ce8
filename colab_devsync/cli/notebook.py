"""`notebook`: writes the way in for a VM. Needs no daemon."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..core.endpoint import checked_pin
from ..daemon.notebook import Choices, write_notebook
from ..daemon.projects import require_root
from . import output
from .settings import current, global_options


@click.command()
@global_options(hidden=True)
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to (default: colab-devsync.ipynb in the project); .py: a plain script.",
)
@click.option("--force", is_flag=True, help="Overwrite FILE without asking.")
@click.option(
    "--public-key",
    metavar="FILE|LINE",
    help="Who may log in to the VM (default: the keys that `connect` tries).",
)
@click.option(
    "--relay-user", metavar="NAME", help="relay: the VM's user there (default: colab)."
)
@click.option(
    "--relay-host-key",
    metavar="SHA256:...",
    help="relay: its host key (default: the one you said yes to).",
)
def notebook(
    file: Path | None,
    force: bool,
    public_key: str | None,
    relay_user: str | None,
    relay_host_key: str | None,
) -> None:
    """Write the Colab notebook for the configured link.

    Run in Colab, it starts an SSH server on the VM, leads a tunnel to it and shows the
    line for `colab-devsync connect`. It holds public keys only; secrets come from
    Colab's own store. With a name that ends in .py: the same as one plain script.
    """
    settings = current()

    def overwrite(path: Path) -> bool:
        if force:
            return True
        if settings.json or not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        return click.confirm(f"{path} exists and differs. Overwrite it?", err=True)

    written = write_notebook(
        require_root(settings.start),
        settings.profile_name,
        None if file is None else Path.cwd() / file,
        overwrite=overwrite,
        choices=Choices(
            public_key, relay_user, checked_pin("--relay-host-key", relay_host_key)
        ),
    )
    done = "Wrote" if written.changed else "Unchanged:"
    output.result(settings, written.as_json(), f"{done} {written.path}.")
    for note in written.notes:
        output.note(note)
