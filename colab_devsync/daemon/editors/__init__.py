"""The files each editor wants, and how they go into files that are there.

Pure, but for `facts` (reads the project) and `writing` (writes the files).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from . import emacs, helix, neovim, pycharm, vscode, zed
from .model import CannotMerge, Facts, File, Places, Setup

__all__ = [
    "EDITORS",
    "UPLOADERS",
    "CannotMerge",
    "Facts",
    "File",
    "Places",
    "Setup",
    "compose",
]

_COMPOSERS: Mapping[str, Callable[[Facts], Setup]] = {
    "vscode": vscode.setup,
    "pycharm": pycharm.setup,
    "neovim": neovim.setup,
    "emacs": emacs.setup,
    "helix": helix.setup,
    "zed": zed.setup,
}

EDITORS = tuple(_COMPOSERS)
UPLOADERS = ("daemon", "pycharm")


def compose(editor: str, facts: Facts) -> Setup:
    """`editor` is one of EDITORS."""
    return _COMPOSERS[editor](facts)
