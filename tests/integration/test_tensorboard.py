"""TensorBoard on the VM answers at a port of this machine."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from colab_devsync.core.events import Progress
from colab_devsync.engine.programs.tensorboard import Board
from colab_devsync.errors import RunError
from tests.support.project import CONFIG, Project
from tests.support.proxy import ChaosProxy

START_S = 50.0

# Says what TensorBoard says, and answers as quickly as one can start.
STAND_IN = """\
#!{python}
import http.server, sys
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(" ".join(sys.argv[1:]).encode())
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
port = server.server_port
print("TensorBoard 2.99.0 at http://127.0.0.1:%d/ (Press CTRL+C to quit)" % port)
server.serve_forever()
"""


class Boards:
    def __init__(self, project: Project, bin_folder: Path) -> None:
        self.project = project
        self.bin = bin_folder
        bin_folder.mkdir()

    def use(self, python: str, more: str = "", **link: Any) -> None:
        """`python` is the VM's; its PATH begins with our own folder."""
        self.project.configure(more=more, **link)
        path = self.project.root / CONFIG
        env = f'env = {{ PATH = "{self.bin}:/usr/bin:/bin" }}'
        head = f'[remote]\npython = "{python}"\n{env}\n'
        path.write_text(path.read_text().replace("[remote]\n", head))

    def stand_in(self) -> None:
        """A `tensorboard` on the VM's PATH."""
        program = self.bin / "tensorboard"
        program.write_text(STAND_IN.format(python=sys.executable))
        program.chmod(0o755)

    def open(self, logdir: str | None = None, **options: Any) -> Board:
        opening = self.project.session.tensorboard.open(logdir, **options)
        return opening.result(START_S)


@pytest.fixture
def bare(tmp_path: Path) -> str:
    """A Python that has no TensorBoard: links resolve to one without packages."""
    name = tmp_path / "python3"
    name.symlink_to(os.path.realpath(sys.executable))
    return str(name)


@pytest.fixture
def boards(project: Project, tmp_path: Path) -> Iterator[Boards]:
    yield Boards(project, tmp_path / "bin")
    for path in project.vm.glob(".colab-devsync/runs/*/spec.json"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(json.loads(path.read_text())["pid"], signal.SIGKILL)


def fetch(board: Board, path: str = "") -> str:
    with urllib.request.urlopen(board.forward.url + path, timeout=START_S) as answer:
        text: str = answer.read().decode()
        return text


def test_the_interpreters_own_tensorboard_is_started_and_used_again(
    boards: Boards,
) -> None:
    boards.use(sys.executable, more='[tensorboard]\nlogdir = "logs/tb"\n')
    said: list[Progress] = []
    board = boards.open(progress=said.append)
    assert any("TensorBoard starts" in one.message for one in said)
    folder = boards.project.vm.resolve() / "logs" / "tb"
    assert folder.is_dir()
    assert "TensorBoard" in fetch(board)
    found = json.loads(fetch(board, "data/environment"))
    assert found["data_location"] == str(folder)
    body = board.as_json()
    assert body["url"] == f"http://127.0.0.1:{body['localPort']}/"
    assert boards.open().as_json() == board.as_json()
    runs = boards.project.session.runs.list().result(START_S)
    assert [(one.kind, one.state) for one in runs] == [("tensorboard", "running")]


def test_a_command_on_the_path_will_do(boards: Boards, bare: str) -> None:
    boards.use(bare)
    boards.stand_in()
    board = boards.open()
    vm = boards.project.vm.resolve()
    assert fetch(board) == f"--logdir {vm}/runs --host 127.0.0.1 --port 0"


def test_each_folder_has_its_own(boards: Boards, bare: str, tmp_path: Path) -> None:
    boards.use(bare)
    boards.stand_in()
    one, two = boards.open("one"), boards.open(str(tmp_path / "two"))
    assert one.forward.local_port != two.forward.local_port
    assert str(tmp_path / "two") in fetch(two)
    assert boards.open("./one/").as_json() == one.as_json()


def test_two_at_once_get_the_same(boards: Boards, bare: str) -> None:
    boards.use(bare)
    boards.stand_in()
    board = boards.project.session.tensorboard
    both = [board.open(), board.open()]
    first, second = (one.result(START_S) for one in both)
    assert first.as_json() == second.as_json()


def test_without_tensorboard_it_is_said_what_to_install(
    boards: Boards, bare: str
) -> None:
    boards.use(bare)
    with pytest.raises(RunError, match="tensorboard is not installed") as caught:
        boards.open()
    assert f"{bare} -m pip install tensorboard" in caught.value.hint


def test_a_tensorboard_that_does_not_start_has_the_last_word(
    boards: Boards, bare: str
) -> None:
    boards.use(bare)
    boards.stand_in()
    (boards.bin / "tensorboard").write_text("#!/bin/sh\necho no numpy >&2; exit 1\n")
    with pytest.raises(RunError, match="no numpy"):
        boards.open()


def test_a_folder_that_cannot_be_made_is_named(boards: Boards, bare: str) -> None:
    boards.use(bare)
    boards.project.write_there("file", "x")
    with pytest.raises(RunError, match=r"no folder .*/file/logs on the VM"):
        boards.open("file/logs")


def test_it_answers_again_after_a_lost_link(
    boards: Boards, bare: str, proxy: ChaosProxy
) -> None:
    boards.use(bare, port=proxy.port)
    boards.stand_in()
    board = boards.open()
    boards.project.log.clear()
    proxy.reset_all()
    boards.project.wait_was("lost")
    assert "--logdir" in fetch(board)  # waits for the link
    assert boards.open().as_json() == board.as_json()


def test_one_that_was_stopped_is_started_anew(boards: Boards, bare: str) -> None:
    boards.use(bare)
    boards.stand_in()
    board = boards.open()
    runs = boards.project.session.runs
    ended = runs.attach(board.run, lambda *_: None).ended
    runs.stop(board.run, kill=True).result(START_S)
    ended.result(START_S)
    again = boards.open()
    assert again.run != board.run
    assert "--logdir" in fetch(again)


def test_a_start_that_is_called_off(boards: Boards, bare: str) -> None:
    boards.use(bare)
    (boards.bin / "tensorboard").write_text("#!/bin/sh\nsleep 60\n")
    (boards.bin / "tensorboard").chmod(0o755)
    boards.project.connect()
    cancel = threading.Event()
    opening = boards.project.session.tensorboard.open(cancel=cancel)
    session = boards.project.session
    boards.project.wait(
        lambda: session.runs.list().result(START_S) or None, "the run is there"
    )
    cancel.set()
    (run,) = session.runs.list().result(START_S)
    session.runs.stop(run.id, kill=True).result(START_S)
    with pytest.raises(BaseException) as caught:
        opening.result(START_S)
    assert type(caught.value).__name__ == "CancelledError"
