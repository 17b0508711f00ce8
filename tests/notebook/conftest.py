"""A VM and a place for the laptop's own files, for each test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.place import Place
from tests.support.sshd import require_sshd
from tests.support.vm import Vm


@pytest.fixture
def vm() -> Iterator[Vm]:
    require_sshd()
    with Vm() as made:
        yield made


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    # Not in tmp_path: a Unix socket's path may have 100 characters at most.
    made = Place(Path(tempfile.mkdtemp(prefix="devsync-")), tmp_path)
    try:
        yield made
    finally:
        made.clean()
