"""`tensorboard`: the VM's TensorBoard in the browser here."""

from __future__ import annotations

import sys
import webbrowser

import click

from . import output
from .progress import Bar
from .settings import current, global_options
from .talk import Talk


@click.command()
@global_options(hidden=True)
@click.option(
    "--logdir",
    metavar="DIR",
    help="Folder of event files on the VM (default: that of [tensorboard]).",
)
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def tensorboard(logdir: str | None, no_browser: bool) -> None:
    """Start TensorBoard on the VM if none runs, and open it here.

    The daemon keeps the address open; TensorBoard goes on until `stop` ends it.
    """
    settings = current()
    with (
        Bar(settings) as bar,
        Talk(settings, notified=bar.notified, pause=bar.pause) as talk,
    ):
        board = talk.job("tensorboard", logdir=logdir)
    output.result(settings, board, board["url"])
    if sys.stdout.isatty() and not (no_browser or settings.json):
        webbrowser.open(board["url"])
