"""The demo is interrupted: it leaves no process and no file behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

PATIENCE_S = 60.0


def wait(look: Callable[[], bool], what: str) -> None:
    """Of other processes there is no event to wait for."""
    until = time.monotonic() + PATIENCE_S
    while not look():
        assert time.monotonic() < until, f"waited in vain: {what}"
        time.sleep(0.01)


def processes_of(folder: Path) -> list[str]:
    """Those whose temporary files are to be in `folder`."""
    mark, found = f"TMPDIR={folder}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_text())
        except OSError:  # it ended meanwhile, or is somebody else's
            continue
    return found


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
            wait(lambda: any(folder.glob("demo*/runtime/*.lock")), when)
        else:
            assert any("debugpy waits there" in line for line in demo.stdout)
        demo.send_signal(signal.SIGINT)
        assert "interrupted" in demo.stdout.read()
        assert demo.wait(PATIENCE_S) != 0
    wait(lambda: not processes_of(folder), "its processes end")
    assert list(folder.iterdir()) == []
