"""Run configurations under `.run/`, which every edition of the IDEs reads. Pure."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence

from .model import Facts, File
from .xml_tree import element, option, render

_MANAGER = "ProjectRunConfigurationManager"
_PY = {"value": "*.py"}


def run_files(facts: Facts) -> list[File]:
    return [
        _file(facts, "run", _shell(facts, "run"), "runs what [run] names"),
        _file(facts, "debug", _debug(facts), "debugs it (LSP4IJ)"),
        _file(facts, "pull", _shell(facts, "pull"), "fetches what [[pull]] names"),
        _file(facts, "TensorBoard", _shell(facts, "TensorBoard"), "opens TensorBoard"),
    ]


def command_line(words: Sequence[str]) -> str:
    """For a field of the IDE that is split at white space, "…" kept together."""
    return " ".join(f'"{one}"' if " " in one else one for one in words)


def _shell(facts: Facts, name: str) -> str:
    join = command_line if sys.platform == "win32" else shlex.join
    line = join([*facts.here, name.lower()])
    values = {
        "SCRIPT_TEXT": line,
        "INDEPENDENT_SCRIPT_PATH": "true",
        "SCRIPT_PATH": "",
        "SCRIPT_OPTIONS": "",
        "INDEPENDENT_SCRIPT_WORKING_DIRECTORY": "true",
        "SCRIPT_WORKING_DIRECTORY": "$PROJECT_DIR$",
        "INDEPENDENT_INTERPRETER_PATH": "true",
        "INTERPRETER_PATH": "/bin/sh",
        "INTERPRETER_OPTIONS": "",
        "EXECUTE_IN_TERMINAL": "true",
        "EXECUTE_SCRIPT_FILE": "false",
    }
    head = {
        "default": "false",
        "name": f"{facts.brand}: {name}",
        "type": "ShConfigurationType",
    }
    options = [option(key, value) for key, value in values.items()]
    configuration = element(
        "configuration",
        head,
        *options,
        element("envs"),
        element("method", {"v": "2"}),
    )
    return render(element("component", {"name": _MANAGER}, configuration)) + "\n"


def _debug(facts: Facts) -> str:
    """LSP4IJ starts `colab-devsync dap` and speaks to its stdin and stdout."""
    name = f"{facts.brand}: debug"
    launch = {"type": "colab-devsync", "request": "launch", "name": name}
    entry = f"$PROJECT_DIR$/{facts.entry}" if facts.entry else ""
    values = {
        "command": command_line([*facts.here, "dap"]),
        "connectTimeout": "0",
        "debugMode": "LAUNCH",
        "debugServerWaitStrategy": "TIMEOUT",
        "file": entry,
        "workingDirectory": "$PROJECT_DIR$",
        "serverId": "",
        "serverName": "Colab DevSync",
        "launchConfiguration": json.dumps(launch),
    }
    head = {
        "default": "false",
        "name": name,
        "type": "DAPConfiguration",
        "factoryName": "DAPConfiguration",
    }
    patterns = option("patterns", None, element("list", {}, element("option", _PY)))
    mapping = element("ServerMappingSettings", {}, element("fileType", {}, patterns))
    configuration = element(
        "configuration",
        head,
        *(option(key, value) for key, value in values.items()),
        option("serverMappings", None, element("list", {}, mapping)),
        element("method", {"v": "2"}),
    )
    return render(element("component", {"name": _MANAGER}, configuration)) + "\n"


def _file(facts: Facts, name: str, text: str, what: str) -> File:
    path = facts.places.project / ".run" / f"{facts.brand} {name}.run.xml"
    return File(path, text, what)
