"""The daemon's process: `python -m colab_devsync.lsp`.

Composes the daemon (which knows no LSP) with the LSP's connection handler. The lock and
the socket come first; pygls is imported when both are there.
"""

from __future__ import annotations

import sys

from ..daemon.process import run
from ..daemon.server import Handler


def main() -> int:
    return run(_load)


def _load() -> Handler:
    from .connection import serve

    return serve


if __name__ == "__main__":
    sys.exit(main())
