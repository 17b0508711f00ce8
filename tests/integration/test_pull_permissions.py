"""Files and folders that may not be read on the VM: named, the rest comes, and they
come too when that is solved."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from colab_devsync.core.events import Problem
from colab_devsync.errors import NotPulled
from tests.support.project import CONFIG, Project
from tests.support.pulls import BIG, Pulling, noise, rule
from tests.support.unprivileged import without_powers

pytestmark = [
    pytest.mark.openssh,
    pytest.mark.skipif(sys.platform != "linux", reason="capabilities of Linux"),
]


def powerless(folder: Path) -> Path:
    """A Python for the VM that reads what its user may read."""
    script = folder / "powerless-python"
    command = " ".join([*without_powers(), sys.executable])
    script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    script.chmod(0o755)
    return script


@pytest.fixture
def pulling(project: Project, tmp_path: Path) -> Pulling:
    project.configure(more=rule())
    config = project.root / CONFIG
    python = json.dumps(str(powerless(tmp_path)))
    text = config.read_text().replace("[remote]", f"[remote]\npython = {python}")
    config.write_text(text)
    pulling = Pulling(project)
    pulling.put("fine.pt", b"fine")
    return pulling


def closing(path: Path) -> Callable[[], None]:
    """Nobody may read `path` any more; returns what takes that back."""
    mode = stat.S_IMODE(path.stat().st_mode)
    path.chmod(0)
    return lambda: path.chmod(mode)


def problem(pulling: Pulling, path: str) -> Problem:
    return pulling.project.wait_problem(path)


@pytest.mark.parametrize("size", [10, BIG])
def test_a_file_that_may_not_be_read(pulling: Pulling, size: int) -> None:
    pulling.put("closed.pt", noise(size))
    reopen = closing(pulling.there / "closed.pt")
    with pytest.raises(NotPulled, match=r"closed\.pt: .*permission denied on the VM"):
        pulling.pull()
    assert pulling.read("fine.pt") == b"fine"
    assert pulling.info().state == "failed"
    assert problem(pulling, "checkpoints/closed.pt").hint
    reopen()
    pulling.pull()
    assert pulling.read("closed.pt") == noise(size)
    assert pulling.info().state == "watching"
    assert pulling.files() == {"fine.pt", "closed.pt"}


def test_a_folder_inside_that_may_not_be_read(pulling: Pulling) -> None:
    pulling.put("closed/a.pt", b"a")
    reopen = closing(pulling.there / "closed")
    with pytest.raises(NotPulled, match=r"closed: permission denied on the VM"):
        pulling.pull()
    assert pulling.read("fine.pt") == b"fine"
    assert "permission denied" in problem(pulling, "checkpoints").message
    assert pulling.info().state == "failed"
    reopen()
    pulling.wait("closed/a.pt", b"a")
    pulling.until(lambda: not pulling.project.session.status().problems, "all is well")


def test_a_folder_that_may_not_be_read(pulling: Pulling) -> None:
    reopen = closing(pulling.there)
    with pytest.raises(NotPulled, match="cannot be watched: permission denied"):
        pulling.pull()
    assert problem(pulling, "checkpoints").hint
    reopen()
    pulling.wait("fine.pt", b"fine")
    pulling.until(lambda: pulling.info().state == "watching", "all is well")
