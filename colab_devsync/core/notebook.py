"""Composes the Colab notebook and the plain script of it. Pure.

The program is `bootstrap/`, given as {module: source} and put together into one file; a
notebook is that file in a cell, a form before it and thin calls behind it. Same input,
same bytes. Public keys are all that is in it; secrets are asked for on the VM.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import ConfigError
from . import notebook_text as words
from .config import Config

PARTS = ("settings", "secret", "server", "tunnel", "front", "main")
"""The modules of `bootstrap/`, each after what it imports."""

PROGRAM = "bootstrap.py"
RELAY_USER = "colab"
RELAY_PORT = 10022

Values = Mapping[str, Any]

_FORM: Mapping[str, Sequence[str]] = {
    "relay": (
        "relay",
        "relay_user",
        "relay_port",
        "relay_host_key",
        "via",
        "public_key",
        "sshd_port",
    ),
    "ngrok": ("mark", "public_key", "sshd_port"),
    "direct": ("host", "port", "public_key", "sshd_port"),
    "command": ("public_key", "sshd_port"),
    "colab": (),
}


def values_of(
    config: Config,
    *,
    public_keys: Iterable[str] = (),
    relay_user: str | None = None,
    relay_host_key: str = "",
) -> dict[str, Any]:
    """What the bootstrap's `Settings` shall be, without what is its default anyhow.
    ConfigError: this link needs nothing on a VM."""
    link = config.link
    if link.provider == "sandbox":
        raise ConfigError(
            'The link provider "sandbox" needs no notebook: its VM is a folder here.',
            "Choose how Colab is reached: `[link] provider` in .colabremote.toml.",
        )
    values: dict[str, Any] = {
        "name": config.name,
        "provider": link.provider,
        "root": config.remote.root,
        "public_key": "\n".join(public_keys),
        "watched": tuple(one.remote for one in config.pull),
        "sshd_port": 2222,
    }
    if link.provider == "ngrok":
        values.update(mark=config.profile or config.name)
    if link.provider == "direct":
        values.update(host=link.host or "", port=link.port)
    if link.provider == "relay":
        relay = link.relay or ""
        values.update(
            relay=relay.rpartition("@")[2],
            relay_user=relay_user or RELAY_USER,
            relay_port=link.port,
            relay_host_key=relay_host_key,
            via=relay,
        )
    return values


def script(sources: Mapping[str, str], values: Values | None = None) -> str:
    """One Python file that does all of it; `values` become its defaults."""
    trees = {name: ast.parse(sources[name]) for name in PARTS}
    parts = [_section(name, sources[name], trees[name]) for name in PARTS]
    text = "\n\n\n".join([_head(trees.values()), *parts]) + "\n"
    if values is not None:
        lines = "".join(f"    {name}={value!r},\n" for name, value in values.items())
        text = text.replace(
            "DEFAULTS = Settings()\n", f"DEFAULTS = Settings(\n{lines})\n"
        )
    return text


def notebook(sources: Mapping[str, str], values: Values) -> str:
    """The text of an .ipynb file (nbformat 4)."""
    provider = values["provider"]
    cells = [
        _markdown("about", words.about(values)),
        _code("settings", _settings_cell(values)),
        _code("program", _program_cell(script(sources))),
    ]
    if provider != "colab":
        cells.append(_code("server", words.SERVER_CELL))
    if provider in ("relay", "ngrok"):
        cells.append(_code("tunnel", words.TUNNEL_CELL))
    cells.append(_code("connect", words.CONNECT_CELL))
    document = {
        "nbformat": 4,
        "nbformat_minor": 0,
        "metadata": {
            "accelerator": "GPU",
            "colab": {"gpuType": "T4", "private_outputs": True, "provenance": []},
            "kernelspec": {"display_name": "Python 3", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "cells": cells,
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


# --- the script -----------------------------------------------------------------------


def _head(trees: Iterable[ast.Module]) -> str:
    """Docstring and all imports of other people's modules, each once."""
    plain: set[str] = set()
    names: dict[str, set[str]] = {}
    for node in (node for tree in trees for node in tree.body):
        if isinstance(node, ast.Import):
            plain.update(ast.unparse(node).splitlines())
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found = names.setdefault(node.module, set())
            found.update(ast.unparse(alias) for alias in node.names)
    names.pop("__future__", None)
    imports = sorted(plain)
    for module, imported in sorted(names.items()):
        imports.append(f"from {module} import {', '.join(sorted(imported))}")
    head = f'#!/usr/bin/env python3\n"""{words.SCRIPT_DOC}"""'
    future = "from __future__ import annotations"
    return "\n\n".join([head, future, "\n".join(imports)])


def _section(name: str, source: str, tree: ast.Module) -> str:
    """A module without its docstring and imports."""
    lines = source.splitlines()
    for index, node in enumerate(tree.body):
        is_doc = index == 0 and isinstance(node, ast.Expr)
        if is_doc or isinstance(node, ast.Import | ast.ImportFrom | ast.Assert):
            end = node.end_lineno or node.lineno
            lines[node.lineno - 1 : end] = [""] * (end - node.lineno + 1)
    doc = (ast.get_docstring(tree) or "").splitlines()[0].partition(". ")[0]
    return f"# --- {name}: {doc.rstrip('.')}\n\n" + "\n".join(lines).strip("\n")


# --- cells ----------------------------------------------------------------------------


def _settings_cell(values: Values) -> str:
    lines = ["#@title Settings", *_field("name", values), *_field("root", values)]
    for name in _FORM[values["provider"]]:
        lines += _field(name, values)
    given = ["name", "root", *_FORM[values["provider"]]]
    lines += ["", "settings = dict(", f"    provider={values['provider']!r},"]
    lines += [f"    {name}={name}," for name in given]
    return "\n".join([*lines, f"    watched={tuple(values['watched'])!r},", ")"])


def _field(name: str, values: Values) -> list[str]:
    value = values[name]
    kind = "integer" if isinstance(value, int) else "string"
    shown = json.dumps(value, ensure_ascii=False)
    lines = [f"#@markdown {words.FIELDS[name]}"] if name in words.FIELDS else []
    return [*lines, f'{name} = {shown} #@param {{type:"{kind}"}}']


def _program_cell(program: str) -> str:
    if "'''" in program or program.endswith("\\"):
        raise ValueError("the program can't stand in a raw string")
    return words.PROGRAM_CELL.replace("PROGRAM_TEXT", program)


def _markdown(name: str, text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {"id": name}, "source": _lines(text)}


def _code(name: str, text: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {"cellView": "form", "id": name},
        "outputs": [],
        "source": _lines(text),
    }


def _lines(text: str) -> list[str]:
    return text.rstrip("\n").splitlines(keepends=True)
