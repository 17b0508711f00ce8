"""A place of its own for each test, and a project in it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.place import SANDBOX, Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    # Not in tmp_path: a Unix socket's path may have 100 characters at most.
    folder = Path(tempfile.mkdtemp(prefix="devsync-"))
    home = tmp_path / "home"
    home.mkdir()
    made = Place(folder, home)
    try:
        yield made
    finally:
        made.clean()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose VM is the sandbox."""
    folder = tmp_path / "segmentation"
    folder.mkdir()
    (folder / ".colabremote.toml").write_text(SANDBOX)
    (folder / "train.py").write_text("print('one')\n")
    return folder
