"""A run at a terminal: what a person is told beside the program's output."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.place import Place
from tests.e2e.projects import write_config
from tests.e2e.runs_there import ended_afterwards, write_programs
from tests.e2e.test_terminal import Terminal
from tests.support.proxy import ChaosProxy
from tests.support.remotes import Remote

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX pty")


@pytest.fixture
def here(tmp_path: Path, remote: Remote, proxy: ChaosProxy) -> Iterator[Path]:
    folder = tmp_path / "segmentation"
    folder.mkdir()
    write_programs(folder)
    write_config(folder, remote, port=proxy.port)
    with ended_afterwards(remote):
        yield folder


def test_a_person_is_told_of_the_run_the_link_and_the_end(
    place: Place, here: Path, remote: Remote, proxy: ChaosProxy
) -> None:
    terminal = Terminal(place, here, "run", "numbers.py")
    terminal.read_until("numbers-1 runs on the VM; ctrl-C stops it")
    terminal.read_until(r"\b20\b")
    proxy.reset_all()
    terminal.read_until("link lost; numbers-1 goes on; waiting")
    terminal.read_until("link is back")
    (remote.root / "stop").write_text("")
    assert terminal.end() == 5
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.text)  # of the bar
    lines = [line for line in re.split(r"[\r\n]+", text) if line.isdigit()]
    assert list(map(int, lines)) == list(range(len(lines)))


def test_ctrl_c_says_what_it_does(place: Place, here: Path, remote: Remote) -> None:
    terminal = Terminal(place, here, "run", "stubborn.py")
    terminal.read_until("ctrl-C stops it")
    terminal.read_until(r"\d+\r\n")
    terminal.interrupt()
    terminal.read_until("stopping stubborn-1; ctrl-C again kills it")
    terminal.read_until("no\r\n")
    terminal.interrupt()
    terminal.read_until("killing stubborn-1")
    assert terminal.end() == 137
