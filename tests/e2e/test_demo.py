"""The demo is interrupted: it leaves no process and no file behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import started_with, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

PATIENCE_S = 60.0


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "colab_devsync", "demo"]
    return subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Where the tests run in the background, it may be ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, because a socket goes into it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


@pytest.mark.parametrize("when", ["its daemon starts", "a program waits in a debugger"])
def test_interrupted_it_leaves_nothing(folder: Path, when: str) -> None:
    with start(folder) as demo:
        assert demo.stdout is not None
        if when == "its daemon starts":
            wait_for(lambda: any(folder.glob("demo*/runtime/*.lock")), when)
        else:
            assert any("debugpy waits there" in line for line in demo.stdout)
        demo.send_signal(signal.SIGINT)
        assert "interrupted" in demo.stdout.read()
        assert demo.wait(PATIENCE_S) != 0
    wait_for(lambda: not started_with(f"TMPDIR={folder}"), "its processes end")
    assert list(folder.iterdir()) == []
