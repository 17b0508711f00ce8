"""What the palette, the explorer and VS Code's own menus offer, in a real VS Code."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.projects import write_config
from tests.e2e.runs_there import ended_afterwards
from tests.integration.test_tensorboard import STAND_IN
from tests.support.code_server import Window, holds, wait_until
from tests.support.proxy import ChaosProxy
from tests.support.remotes import Remote

pytestmark = [pytest.mark.openssh, pytest.mark.timeout(400)]

ONLINE = re.compile(r"segmentation\s+\d+ ms")
PULL = '\n[[pull]]\nremote = "out"\nlocal = "kept"\nevery = 3600\n'
TASK = {
    "type": "colab-devsync",
    "command": "run",
    "args": ["fails.py"],
    "label": "try it",
    "problemMatcher": [],
}


@pytest.fixture
def window(
    open_window: Callable[[Path], Window], here: Path, remote: Remote, tmp_path: Path
) -> Iterator[Window]:
    """The VM's Python has no TensorBoard; a stand-in is on its PATH."""
    config = write_config(here, remote)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to(os.path.realpath(sys.executable))
    board = programs / "tensorboard"
    board.write_text(STAND_IN.format(python=sys.executable))
    board.chmod(0o755)
    head = f'[remote]\npython = "{programs / "python3"}"\n'
    head += f'env = {{ PATH = "{programs}:/usr/bin:/bin" }}\n'
    config.write_text(config.read_text().replace("[remote]\n", head) + PULL)
    (here / "fails.py").write_text("print('to the VM', flush=True)\nexit(3)\n")
    (here / "data.csv").write_text("1,2\n")
    (here / ".vscode").mkdir()
    tasks = {"version": "2.0.0", "tasks": [TASK]}
    (here / ".vscode" / "tasks.json").write_text(json.dumps(tasks))
    window = open_window(here)
    window.wait_status(ONLINE)
    with ended_afterwards(remote):
        yield window


def test_palette(
    window: Window,
    here: Path,
    remote: Remote,
    make_proxy: Callable[..., ChaosProxy],
) -> None:
    terminal_profile(window, remote.root)
    task(window)
    upload(window, remote.root)
    fetch(window, here, remote.root)
    tensorboard(window)
    notebook(window, here)
    paste(window, remote, make_proxy(remote.login.port))


def terminal_profile(window: Window, there: Path) -> None:
    """In a window that has no terminal yet."""
    window.palette("Create New Terminal (With Profile)", "Colab VM")
    is_there = holds(there / "where.txt", f"{there.resolve()}\n")
    window.type_in_terminal("pwd -P > where.txt", is_there)
    window.shot("profile")


def task(window: Window) -> None:
    """Of tasks.json; its exit code is that of the program on the VM."""
    window.palette("Tasks: Run Task", "try it")
    expect(window.terminal).to_contain_text("to the VM")
    expect(window.terminal).to_contain_text(re.compile(r"exit\s*code:\s*3"))
    window.shot("task")


def upload(window: Window, there: Path) -> None:
    """From the explorer's context menu."""
    window.palette("View: Show Explorer")
    window.menu(window.row("data.csv"), "Upload to the VM")
    window.answer("Where to on the VM", "data/first.csv")
    wait_until(holds(there / "data" / "first.csv", "1,2\n"), "the file is on the VM")


def fetch(window: Window, here: Path, there: Path) -> None:
    (there / "out").mkdir(exist_ok=True)
    (there / "out" / "best.pt").write_text("weights")
    window.palette("Fetch Checkpoints Now")
    told = window.find(".statusbar-item", "Fetched: 1 file, 7 B")
    expect(told.first).to_be_visible()
    assert holds(here / "kept" / "best.pt", "weights")()


def tensorboard(window: Window) -> None:
    """Beside the code, through a port of this machine."""
    window.palette("Open TensorBoard")
    inside = window.page.frame_locator("iframe.webview").last
    page = inside.frame_locator("iframe").frame_locator("iframe")
    expect(page.locator("body")).to_contain_text("--logdir")
    window.shot("tensorboard")


def notebook(window: Window, here: Path) -> None:
    window.palette("Write the Colab Notebook")
    expect(window.find(".tab.active", ".ipynb")).to_be_visible()
    shown = window.find(".statusbar-item", re.compile(r"Cell 1 of \d"))
    expect(shown.first).to_be_visible()
    (written,) = here.glob("*.ipynb")
    assert json.loads(written.read_text())["cells"]
    window.shot("notebook")


def paste(window: Window, remote: Remote, proxy: ChaosProxy) -> None:
    """What a notebook printed leads to the VM, whatever the configuration says."""
    window.palette("Colab VM: Disconnect")
    expect(window.status).not_to_contain_text(" ms")
    login = remote.login
    machine = f"{login.user}@{login.host}:{proxy.port}"
    window.palette("Connect to a Pasted Address or Connect String")
    window.answer("Paste what", f" devsync://{machine}?hk={login.fingerprint}\n")
    window.wait_status(ONLINE)
    assert proxy.counts().connections == 1
