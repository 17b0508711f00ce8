"""The command `colab-devsync`: composes the front ends, and starts `lsp` at once.

An editor waits for `lsp`, so that is dispatched before click is imported.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .cli.settings import Server

_STANDARD = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def main() -> int:
    """Runs the command line of this process; returns its exit code."""
    arguments = sys.argv[1:]
    _open_what_was_closed()
    if arguments[:1] == ["lsp"] and all(map(_editors_add, arguments[1:])):
        from .daemon.pump import run

        return run()
    from .cli.app import run as run_cli

    return run_cli(arguments, in_process=_in_process)


def _open_what_was_closed() -> None:
    """Somebody started us without stdin, stdout or stderr (`<&-`): then the next socket
    would get that number, and what the daemon says would be read as the user's input.
    Empty ones take their place."""
    for number, (name, mode) in enumerate(_STANDARD):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is given out, and the lower ones are open.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


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
