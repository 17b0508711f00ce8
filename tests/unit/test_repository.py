"""What the README and the Makefile promise exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


def page_id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def shown_commands(text: str) -> set[str]:
    """First words after `colab-devsync` in code, options and prose left out."""
    return set(re.findall(r"(?<=[`$ \n])colab-devsync ([a-z][a-z-]+)(?=[\s`])", text))


@pytest.fixture(scope="module")
def help_text() -> str:
    done = subprocess.run(
        [sys.executable, "-m", "colab_devsync", "--help"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout


def test_readme_is_short() -> None:
    assert (ROOT / "README.md").read_text(encoding="utf-8").count("\n") <= 130
    assert (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").count("\n") <= 100


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text)
    assert [t for t in targets if not (page.parent / t).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_shown_in_code_exist(page: Path, help_text: str) -> None:
    text = page.read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```(?:sh|console|bash)\n(.*?)```", text, re.S))
    known = set(re.findall(r"^\W*([a-z][a-z-]+)\b", help_text, re.M))
    assert shown_commands(" " + blocks) - known == set()


def test_make_targets_the_pages_name_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    known = set(re.findall(r"^([a-z0-9-]+):", makefile, re.M))
    named = {
        target
        for page in PAGES
        for target in re.findall(r"`make ([a-z0-9-]+)", page.read_text("utf-8"))
    }
    assert named - known == set()
