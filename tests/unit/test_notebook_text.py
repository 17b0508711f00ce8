"""The notebook as a document: valid, the same bytes each time, nothing secret in it."""

from __future__ import annotations

import ast
import dataclasses
import json
import sys
from collections import Counter
from typing import Any

import nbformat
import pytest

from colab_devsync.core.config import Config, load_config
from colab_devsync.core.notebook import PARTS, notebook, script, values_of
from colab_devsync.daemon.notebook import program_sources
from colab_devsync.errors import ConfigError

if sys.platform == "win32":
    pytest.skip("the program runs on Linux", allow_module_level=True)

LINKS = {
    "relay": 'relay = "me@vps.example.com:22"',
    "ngrok": "",
    "direct": 'host = "203.0.113.7"',
    "command": 'proxy_command = ["nc", "vm", "22"]',
    "colab": "",
}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + 11 * "Fake" + " me@laptop"


def config_of(provider: str, **keys: str) -> Config:
    text = f'[link]\nprovider = "{provider}"\n{LINKS.get(provider, "")}\n'
    return load_config(text, folder_name=keys.get("name", "seg"))


def made(provider: str) -> str:
    values = values_of(config_of(provider), public_keys=[KEY])
    return notebook(program_sources(), values)


def code_of(text: str) -> list[str]:
    cells = json.loads(text)["cells"]
    return ["".join(one["source"]) for one in cells if one["cell_type"] == "code"]


@pytest.mark.parametrize("provider", LINKS)
def test_it_is_a_valid_notebook_of_python_cells(provider: str) -> None:
    text = made(provider)
    nbformat.validate(nbformat.reads(text, as_version=4))
    for source in code_of(text):
        ast.parse(source)
    ids = [one["metadata"]["id"] for one in json.loads(text)["cells"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("provider", LINKS)
def test_same_input_same_bytes(provider: str) -> None:
    assert made(provider) == made(provider)


@pytest.mark.parametrize("provider", LINKS)
def test_the_rules_of_colab_stand_before_everything(provider: str) -> None:
    first = json.loads(made(provider))["cells"][0]
    text = "".join(first["source"])
    assert first["cell_type"] == "markdown"
    assert "SSH and other remote control" in text
    assert "Nothing here clicks" in text


def test_it_holds_public_keys_only() -> None:
    for provider in LINKS:
        text = made(provider)
        assert "BEGIN OPENSSH PRIVATE KEY" not in text
        assert "private_outputs" in text
    assert KEY in made("relay")


def test_the_form_has_what_can_be_changed_and_the_cells_are_thin() -> None:
    form, program, *thin = code_of(made("relay"))
    assert 'relay = "vps.example.com:22" #@param {type:"string"}' in form
    assert 'via = "me@vps.example.com:22" #@param {type:"string"}' in form
    assert 'relay_port = 10022 #@param {type:"integer"}' in form
    assert "SOURCE = r'''" in program
    assert [len(cell.splitlines()) <= 5 for cell in thin] == [True] * 3


def test_values_cannot_leave_their_quotes() -> None:
    values = values_of(config_of("direct"), public_keys=[])
    nasty = "'''\"\\\n#@param $(reboot) é"
    form = code_of(notebook(program_sources(), {**values, "host": nasty}))[0]
    names: dict[str, Any] = {}
    exec(form, names)
    assert names["settings"]["host"] == nasty
    text = script(program_sources(), {**values, "host": nasty})
    (found,) = [
        keyword.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.keyword) and node.arg == "host"
        for keyword in [node]
        if isinstance(keyword.value, ast.Constant)
    ]
    assert found.value == nasty


def test_the_sandbox_needs_none_and_says_so() -> None:
    with pytest.raises(ConfigError, match="needs no notebook"):
        values_of(config_of("sandbox"))


@pytest.mark.parametrize("provider", LINKS)
def test_what_is_handed_over_are_settings_of_the_program(provider: str) -> None:
    from colab_devsync.bootstrap.settings import PROVIDERS, Settings

    names = {field.name for field in dataclasses.fields(Settings)}
    values = values_of(config_of(provider))
    assert set(values) <= names
    assert set(PROVIDERS) == set(LINKS)
    assert Settings(**values).provider == provider


@pytest.mark.parametrize("kind", ["OPENSSH PRIVATE KEY", "RSA PRIVATE KEY"])
def test_a_private_key_is_understood_however_it_was_pasted(kind: str) -> None:
    from colab_devsync.bootstrap.secret import normal_key
    from colab_devsync.bootstrap.settings import BootstrapError

    body = [70 * "a", 70 * "B", "c0+/" * 3 + "=="]
    key = "\n".join([f"-----BEGIN {kind}-----", *body, f"-----END {kind}-----", ""])
    for pasted in (key, key.replace("\n", " "), key.replace("\n", "\\n"), key.strip()):
        assert normal_key(pasted) == key
    assert normal_key("".join(body)).split("\n")[1:4] == body
    for wrong in ("", "ssh-ed25519 AAAA me", key[:80]):
        with pytest.raises(BootstrapError, match="holds no private key"):
            normal_key(wrong)


def test_the_parts_do_not_hide_each_others_names() -> None:
    """They become one file, so a name may be defined once only."""
    defined = Counter(
        name
        for part in PARTS
        for node in ast.parse(program_sources()[part]).body
        for name in names_of(node)
    )
    assert [name for name, count in defined.items() if count > 1] == []


def names_of(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [one.id for one in node.targets if isinstance(one, ast.Name)]
    return []
