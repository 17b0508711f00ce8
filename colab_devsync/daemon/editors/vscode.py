"""VS Code: recommends the extension, a launch configuration, tasks. Pure."""

from __future__ import annotations

from typing import Any

from .json_merge import json_merge, json_text
from .model import Facts, File, Setup

EXTENSION = "colab-devsync.colab-devsync"
"""Publisher and name in editor-extension/package.json."""

_DEBUG = {
    "name": "Colab: debug this file",
    "type": "colab-devsync",
    "request": "launch",
    "program": "${file}",
}


def setup(facts: Facts) -> Setup:
    recommended = {"recommendations": [EXTENSION]}
    launch = {"version": "0.2.0", "configurations": [_DEBUG]}
    tasks = {
        "version": "2.0.0",
        "tasks": [
            _task(facts, "run this file", "run", "${file}"),
            _task(facts, "pull", "pull"),
            _task(facts, "TensorBoard", "tensorboard"),
        ],
    }
    return Setup(
        files=(
            _file(facts, "extensions.json", recommended, "recommends the extension"),
            _file(facts, "launch.json", launch, "F5 debugs the open file on the VM"),
            _file(facts, "tasks.json", tasks, "run, pull and TensorBoard as tasks"),
        ),
        steps=(
            "Install the extension: VS Code offers it when it opens this folder.",
            "F5 debugs the open file on the VM; Terminal > Run Task has the rest.",
        ),
    )


def _task(facts: Facts, label: str, *arguments: str) -> dict[str, Any]:
    command, *words = facts.here
    return {
        "label": f"{facts.brand}: {label}",
        "type": "process",
        "command": command,
        "args": [*words, *arguments],
        "options": {"cwd": "${workspaceFolder}"},
        "problemMatcher": [],
    }


def _file(facts: Facts, name: str, wanted: Any, what: str) -> File:
    path = facts.places.project / ".vscode" / name
    return File(path, json_text(wanted), what, merge=json_merge(wanted))
