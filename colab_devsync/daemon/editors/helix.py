"""Helix: `.helix/languages.toml` with the server and the debugger. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import tomli

from .model import CannotMerge, Facts, File, Setup

SERVER = "colab-devsync"
_ONLY = ("code-action", "workspace-command", "diagnostics", "hover", "completion")
# What Helix starts by itself; a list of ours replaces that list.
_BESIDE = {"python": ("ty", "ruff", "jedi", "pylsp"), "toml": ("taplo", "tombi")}


def setup(facts: Facts) -> Setup:
    parts = {
        "server": _server(facts),
        "python": _language("python") + _debugger(facts),
        "toml": _language("toml"),
    }
    path = facts.places.project / ".helix" / "languages.toml"
    what = "the language server beside yours, and the debugger"
    text = "\n".join(parts.values())
    return Setup(
        files=(File(path, text, what, merge=partial(_merged, parts)),),
        steps=(
            "Trust the folder if Helix asks, then `:lsp-restart`.",
            ":lsp-workspace-command lists what colab-devsync can do; "
            ":debug-start asks for the file to debug on the VM.",
        ),
    )


def _server(facts: Facts) -> str:
    command, *words = facts.here
    return (
        f"[language-server.{SERVER}]\n"
        f"command = {_value(command)}\n"
        f"args = {_value([*words, 'lsp'])}\n"
        'required-root-patterns = [".colabremote.toml"]\n'
    )


def _language(name: str) -> str:
    servers = ", ".join(map(_value, _BESIDE[name]))
    ours = f"{{ name = {_value(SERVER)}, only-features = {_value(_ONLY)} }}"
    return (
        f"[[language]]\nname = {_value(name)}\nlanguage-servers = [{servers}, {ours}]\n"
    )


def _debugger(facts: Facts) -> str:
    command, *words = facts.here
    return (
        "\n[language.debugger]\n"
        f"name = {_value(SERVER)}\n"
        'transport = "stdio"\n'
        f"command = {_value(command)}\n"
        f"args = {_value([*words, 'dap'])}\n"
        "\n[[language.debugger.templates]]\n"
        'name = "colab"\n'
        'request = "launch"\n'
        'completion = [{ name = "file", completion = "filename" }]\n'
        'args = { program = "{0}" }\n'
    )


def _merged(parts: dict[str, str], text: str) -> str:
    """Appends what is missing. A language that is there would have to be changed in
    the middle, so its owner does that."""
    there = _read(text)
    missing = []
    if SERVER not in there.get("language-server", {}):
        missing.append(parts["server"])
    languages = _languages(there)
    for name in _BESIDE:
        if name not in languages:
            missing.append(parts[name])
        elif not _names_us(languages[name]):
            raise CannotMerge(f"it configures {name} already, without {SERVER}")
    if not missing:
        return text
    merged = text + ("" if text.endswith("\n") or not text else "\n")
    merged += ("\n" if text.strip() else "") + "\n".join(missing)
    _read(merged)  # an inline table, say, cannot be added to
    return merged


def _languages(there: dict[str, Any]) -> dict[str, Any]:
    """By name. CannotMerge: Helix itself could not read them."""
    listed = there.get("language", [])
    is_list = isinstance(listed, list) and all(isinstance(one, dict) for one in listed)
    if not is_list or not all(isinstance(one.get("name"), str) for one in listed):
        raise CannotMerge("its languages are no [[language]] tables with names")
    return {one["name"]: one for one in listed}


def _names_us(language: dict[str, Any]) -> bool:
    servers = language.get("language-servers")
    if not isinstance(servers, list):
        return False
    names = [one.get("name") if isinstance(one, dict) else one for one in servers]
    return SERVER in names


def _read(text: str) -> dict[str, Any]:
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as exc:
        raise CannotMerge(f"it would not be TOML: {exc}") from exc


def _value(value: str | Sequence[str]) -> str:
    """A TOML string, or a list of strings: as in JSON."""
    return json.dumps(value, ensure_ascii=False)
