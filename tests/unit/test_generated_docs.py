"""What is generated from the code is current, and what it shows is true."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from colab_devsync.core.config import check_config
from colab_devsync.core.config.introspect import tables

ROOT = Path(__file__).resolve().parent.parent.parent
SCHEMA = ROOT / "colab_devsync" / "colabremote.schema.json"
REFERENCE = ROOT / "docs" / "reference"


def test_pages_and_schema_are_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "gen_docs.py", "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def patterns(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "pattern" and isinstance(value, str):
                yield value
            if key == "patternProperties":
                yield from value
            yield from patterns(value)
    elif isinstance(node, list):
        for value in node:
            yield from patterns(value)


def test_the_schema_describes_every_key() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert schema["$schema"] == "http://json-schema.org/draft-04/schema#"
    for name, table in tables().items():
        shown = schema["definitions"][name] if name else schema
        assert shown["additionalProperties"] is False
        described = {
            key
            for key, value in shown["properties"].items()
            if "description" in value or "$ref" in value
        }
        assert described >= set(table.keys), name
    in_profile = set(schema["definitions"]["profile"]["properties"])
    assert in_profile | {"profiles"} == set(schema["properties"])


def test_the_schemas_patterns_are_regular_expressions_for_everyone() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    found = set(patterns(schema))
    assert len(found) > 10
    for pattern in found:
        assert re.compile(pattern)
        # Named groups, lookbehind and \A \Z are spelled otherwise outside Python.
        assert not re.search(r"\(\?(P|<)|\\[AZ]", pattern)


@pytest.mark.parametrize("page", sorted(REFERENCE.glob("*.md")), ids=lambda p: p.name)
def test_toml_shown_in_the_reference_is_right(page: Path) -> None:
    for block in re.findall(r"```toml\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        assert check_config(block) == ()


def test_the_mistake_shown_in_the_reference_is_what_is_said() -> None:
    page = (REFERENCE / "configuration.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```text\n(\.colabremote.*?)\n```", page, re.DOTALL)
    (problem,) = check_config('\n\n[link]\nprovider = "colb"\n')
    assert problem.text(".colabremote.toml") == " ".join(shown.split())
