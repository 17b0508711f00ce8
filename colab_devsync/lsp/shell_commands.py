"""`devsync.shell`: what an editor should start in a terminal of its own. On the loop.

The terminal's bytes do not come through the editor: a pty there and one on the VM are
joined by the command line, which speaks to the same daemon.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from ..engine.project import load_project
from .command import Answer, Arguments, Command
from .server import DevsyncServer


def shell(ls: DevsyncServer, args: Arguments) -> Answer:
    project = ls.folders.project(args["folder"])
    root = str(project.root)
    profile = ["--profile", project.profile] if project.profile else []
    return {
        "argv": [
            *(sys.executable, "-m", "colab_devsync"),
            *("--project", root),
            *profile,
            "shell",
        ],
        "cwd": root,
        "name": f"colab-{load_project(project.root, project.profile).name}",
    }


COMMANDS: Mapping[str, Command] = {"devsync.shell": Command(run=shell)}
