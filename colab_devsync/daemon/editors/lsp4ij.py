"""Templates for the plugin LSP4IJ: a language server and a debug adapter. Pure.

The plugin keeps servers per IDE, not per project, so that a person imports these
folders once. They stand in a folder of ours.
"""

from __future__ import annotations

from typing import Any

from .jetbrains_run import command_line
from .json_merge import json_text
from .model import Facts, File

_PYTHON = {
    "fileType": {"name": "Python", "patterns": ["*.py"]},
    "languageId": "python",
}
_CONFIG = {"fileType": {"patterns": [".colabremote.toml"]}, "languageId": "toml"}

_README = """\
# Colab DevSync

A saved file is on your VM one round trip later. Commands (run, debug, pull, sync …) are
code actions, Alt+Enter, in Python files and in `.colabremote.toml`.
"""


def template_files(facts: Facts) -> list[File]:
    server = {
        "template.json": _server(facts),
        "installer.json": _installer(facts),
    }
    debugger = {
        "template.json": _debugger(facts),
        "launch.file.json": {
            "name": "Colab: debug this file",
            "type": "colab-devsync",
            "request": "launch",
            "program": "${file}",
        },
        "launch.entry.json": {
            "name": "Colab: debug what [run] names",
            "type": "colab-devsync",
            "request": "launch",
        },
    }
    found = _files(facts, "lsp4ij-server", server)
    found += _files(facts, "lsp4ij-debugger", debugger)
    readme = facts.places.own / "lsp4ij-server" / "README.md"
    found.append(File(readme, _README, "what the help button shows", is_ours=True))
    return found


def _server(facts: Facts) -> dict[str, Any]:
    return {
        "id": "colab-devsync",
        "name": "Colab DevSync",
        "programArgs": {"default": command_line([*facts.program, "lsp"])},
        "env": {"includeSystemEnvironmentVariables": True},
        "fileTypeMappings": [_CONFIG, _PYTHON],
    }


def _debugger(facts: Facts) -> dict[str, Any]:
    return {
        "id": "colab-devsync",
        "name": "Colab DevSync",
        "launch": {"default": command_line([*facts.program, "dap"])},
        "fileTypeMappings": [_PYTHON],
    }


def _installer(facts: Facts) -> dict[str, Any]:
    check = command_line([*facts.program, "--version"])
    return {
        "id": "colab-devsync",
        "name": "Install colab-devsync",
        "executeOnStartServer": False,
        "check": {"exec": {"name": "Check", "command": check, "timeout": 4000}},
        "run": {
            "exec": {
                "name": "pip install",
                "command": "pip install colab-devsync",
                "ignoreStderr": True,
            }
        },
    }


def _files(facts: Facts, folder: str, contents: dict[str, Any]) -> list[File]:
    base = facts.places.own / folder
    what = "to be imported into LSP4IJ"
    return [
        File(base / name, json_text(value), what, is_ours=True)
        for name, value in contents.items()
    ]
