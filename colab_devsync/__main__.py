"""The command `colab-devsync`: composes the front ends, and starts `lsp` at once.

An editor waits for `lsp`, so that is dispatched before click is imported.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .cli.settings import Server


def main() -> int:
    """Runs the command line of this process; returns its exit code."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["lsp"] and all(map(_editors_add, arguments[1:])):
        from .daemon.pump import run

        return run()
    from .cli.app import run as run_cli

    return run_cli(arguments, in_process=_in_process)


def _editors_add(argument: str) -> bool:
    return argument == "--stdio" or argument.startswith("--clientProcessId=")


def _in_process(profile: str | None) -> Server:
    # Here, because the command line may not import the server's side.
    from .lsp.inprocess import InProcess

    return InProcess(profile)


def _leave_working_folder_out() -> None:
    """`python -m` puts the working folder first on sys.path. That is the user's
    project, and its `platform.py` or `queue.py` must not become ours."""
    try:
        folder = os.getcwd()
    except OSError:
        return  # it has been removed, so nothing can be imported from it
    package_parent = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if sys.path and sys.path[0] == folder != package_parent:
        sys.path.pop(0)


if __name__ == "__main__":
    _leave_working_folder_out()
    sys.exit(main())
