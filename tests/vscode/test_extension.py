"""The extension's own rules and its unit tests, which run in Node."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

import colab_devsync
from tests.support.code_server import NODE, ROOT

EXTENSION = ROOT / "editor-extension"
SOURCES = sorted((EXTENSION / "src").glob("*.ts"))
MANIFEST = json.loads((EXTENSION / "package.json").read_text(encoding="utf-8"))


def test_it_stays_thin() -> None:
    lines = {path.name: path.read_text().count("\n") for path in SOURCES}
    assert {name: count for name, count in lines.items() if count > 200} == {}
    del lines["protocol.ts"]  # is generated
    assert sum(lines.values()) <= 1200


def test_its_version_is_that_of_the_package() -> None:
    assert MANIFEST["version"] == colab_devsync.__version__


def test_every_command_in_the_palette_exists() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    made = set(re.findall(r"^    (\w+): (?:async )?(?:\(|\w+ =>)", text, re.MULTILINE))
    named = {one["command"] for one in MANIFEST["contributes"]["commands"]}
    assert {f"colabDevsync.{name}" for name in made} >= named
    menus = MANIFEST["contributes"]["menus"].values()
    assert {one["command"] for menu in menus for one in menu} <= named


def test_no_registry_is_named_in_the_lock() -> None:
    lock = json.loads((EXTENSION / "package-lock.json").read_text(encoding="utf-8"))
    assert [name for name, one in lock["packages"].items() if "resolved" in one] == []


def test_its_unit_tests_pass() -> None:
    if not NODE.exists():
        pytest.skip("needs Node.js: `make extension`")
    tests = sorted((EXTENSION / "test").glob("*.test.ts"))
    done = subprocess.run(
        [NODE, "--disable-warning=MODULE_TYPELESS_PACKAGE_JSON", "--test", *tests],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout
