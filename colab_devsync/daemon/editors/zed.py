"""Zed: the language server, tasks, a debug configuration. Pure.

Zed starts only servers it knows. Its entry `pylsp` is told to start ours: Zed's own
choice for Python is another server, which goes on beside it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from .json_merge import json_merge, json_text
from .jsonc import parse, skip_blank
from .model import CannotMerge, Facts, File, Setup

ALL = ["pylsp", "..."]

DEBUG_PORT = 5678
"""Zed attaches to a port that its file names; the task `debug` asks for the same."""


def setup(facts: Facts) -> Setup:
    return Setup(
        files=(
            _settings_file(facts),
            _file(facts, "tasks.json", _tasks(facts), "run, debug, pull, TensorBoard"),
            _file(facts, "debug.json", _debug(facts), "attaches the debugger"),
        ),
        steps=(
            "Trust the project in Zed, so that its settings may start the server.",
            f"To debug: run the task `{facts.brand}: debug this file`, then start the "
            f"debug configuration `{facts.brand}: attach`.",
        ),
    )


def _settings(facts: Facts, servers: list[str]) -> dict[str, Any]:
    command, *words = facts.here
    return {
        "lsp": {"pylsp": {"binary": {"path": command, "arguments": [*words, "lsp"]}}},
        "languages": {"Python": {"language_servers": servers}},
    }


def _settings_merged(facts: Facts, text: str) -> str:
    """The rest of Zed's servers ("...") is added only where no list leaves them out."""
    there = parse(text).plain() if text[skip_blank(text, 0) :] else {}
    chosen = _at(there, "languages", "Python", "language_servers")
    words = _at(there, "lsp", "pylsp", "binary", "arguments")
    if words is not None and words != [*facts.here[1:], "lsp"]:
        raise CannotMerge("it starts another server as pylsp, or another profile's")
    if isinstance(chosen, list) and "!pylsp" in chosen:
        raise CannotMerge("it turns pylsp off")
    servers = ALL if chosen is None else ALL[:1]
    return json_merge(_settings(facts, servers), strict=True)(text)


def _at(value: Any, *keys: str) -> Any:
    """None where something is missing, or is no object."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _tasks(facts: Facts) -> list[dict[str, Any]]:
    port = str(DEBUG_PORT)
    return [
        _task(facts, "run this file", "run", "$ZED_FILE"),
        _task(facts, "debug this file", "debug", "--port", port, "$ZED_FILE"),
        _task(facts, "pull", "pull"),
        _task(facts, "TensorBoard", "tensorboard"),
    ]


def _task(facts: Facts, label: str, *arguments: str) -> dict[str, Any]:
    command, *words = facts.here
    return {
        "label": f"{facts.brand}: {label}",
        "command": command,
        "args": [*words, *arguments],
        "cwd": "$ZED_WORKTREE_ROOT",
        "save": "current",
    }


def _debug(facts: Facts) -> list[dict[str, Any]]:
    where = {"host": "127.0.0.1", "port": DEBUG_PORT}
    roots = {"localRoot": "$ZED_WORKTREE_ROOT", "remoteRoot": facts.remote_root}
    return [
        {
            "label": f"{facts.brand}: attach",
            "adapter": "Debugpy",
            "request": "attach",
            "tcp_connection": where,
            "connect": where,
            "pathMappings": [roots],
            "redirectOutput": True,
            "subProcess": True,
        }
    ]


def _file(facts: Facts, name: str, wanted: Any, what: str) -> File:
    path = facts.places.project / ".zed" / name
    return File(path, json_text(wanted), what, merge=json_merge(wanted))


def _settings_file(facts: Facts) -> File:
    path = facts.places.project / ".zed" / "settings.json"
    text, merge = json_text(_settings(facts, ALL)), partial(_settings_merged, facts)
    return File(path, text, "starts the server", merge=merge)
