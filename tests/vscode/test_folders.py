"""A workspace of several folders: one client, and each file belongs to its project."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.projects import write_config
from tests.support.code_server import Window, holds, wait_until
from tests.support.remotes import Remote

pytestmark = [pytest.mark.openssh, pytest.mark.timeout(400)]

TASK = {
    "type": "colab-devsync",
    "command": "run",
    "args": ["beta.py"],
    "label": "try it",
    "problemMatcher": [],
}


@pytest.fixture
def window(
    open_window: Callable[[Path], Window], tmp_path: Path, remote: Remote
) -> Window:
    """`alpha` and `beta` are projects, `loose` is not. Each has one Python file."""
    names = ("alpha", "beta", "loose")
    for name in names:
        here = tmp_path / name
        here.mkdir()
        (here / f"{name}.py").write_text(f"print('this is {name}')\n")
        (remote.root / name).mkdir()
    for name in ("alpha", "beta"):
        config = write_config(tmp_path / name, remote)
        root = json.dumps(str(remote.root / name))
        config.write_text(config.read_text().replace(f'"{remote.root}"', root))
    (tmp_path / "beta" / ".vscode").mkdir()
    tasks = {"version": "2.0.0", "tasks": [TASK]}
    (tmp_path / "beta" / ".vscode" / "tasks.json").write_text(json.dumps(tasks))
    workspace = tmp_path / "all.code-workspace"
    workspace.write_text(json.dumps({"folders": [{"path": name} for name in names]}))
    return open_window(workspace)


def test_folders(window: Window, remote: Remote) -> None:
    for name in ("beta", "alpha"):
        window.open_file(f"{name}.py")
        window.wait_status(re.compile(rf"{name}\s+\d+ ms"))
        window.type_over(f"print('{name} again')\n")
        window.save()
        there = remote.root / name / f"{name}.py"
        wait_until(holds(there, f"print('{name} again')\n"), f"{name} is on the VM")
        window.title_action("Run File on the VM").click()
        expect(window.output).to_contain_text(f"{name} again")
    assert not list(remote.root.glob("alpha/beta.py"))
    assert not list(remote.root.glob("beta/alpha.py"))
    window.open_view()
    expect(window.row("alpha")).to_be_visible()
    expect(window.row("beta-1")).to_be_visible()
    window.shot("view")
    task(window)
    nobody_s(window)
    one_client(window)


def task(window: Window) -> None:
    """Of the second folder; it runs there."""
    window.palette("Tasks: Run Task", "try it")
    expect(window.terminal).to_contain_text("beta-2 runs on the VM")
    expect(window.terminal).to_contain_text("beta again")


def nobody_s(window: Window) -> None:
    """From a file that is in no project, somebody has to say which one."""
    window.open_file("loose.py")
    window.palette("Colab VM: Show Status", "/beta")
    expect(window.output).to_contain_text("beta: connected")
    window.palette("Colab VM: Show Status", "/alpha")
    expect(window.output).to_contain_text("alpha: connected")


def one_client(window: Window) -> None:
    window.palette("Colab VM: Show Log")
    expect(window.output).to_contain_text("starting")
    assert window.output.inner_text().count("starting") == 1
