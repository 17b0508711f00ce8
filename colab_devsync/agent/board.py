"""Becomes TensorBoard, the interpreter's or the one on PATH. On the VM.

A program of its own: the configured interpreter runs this source with `-c`. The port
is a free one; TensorBoard prints it. Never imports TensorBoard itself.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and sys.path and sys.path[0] == "":
    del sys.path[0]  # a project's tensorboard.py must not become ours

import importlib.util
import os
import shutil
from typing import List


def main(arguments: List[str]) -> None:
    """`LOGDIR`, which is made if it is not there yet."""
    logdir = os.path.abspath(arguments[0])
    try:
        os.makedirs(logdir, exist_ok=True)
    except OSError as exc:
        fail("no folder %s on the VM, and it cannot be made: %s" % (logdir, exc))
    os.chdir("/")  # `-m` looks where it stands first, and there is the project
    command = [*board(), "--logdir", logdir, "--host", "127.0.0.1", "--port", "0"]
    os.execv(command[0], command)


def board() -> List[str]:
    """The command, with an absolute path."""
    if importlib.util.find_spec("tensorboard") is not None:
        return [sys.executable, "-m", "tensorboard.main"]
    found = shutil.which("tensorboard")
    if found is None:
        fail("tensorboard is not installed on the VM")
    return [str(found)]


def fail(message: str) -> None:
    sys.stderr.write("colab-devsync: %s\n" % message)
    sys.exit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
