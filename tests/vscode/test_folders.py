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

LAUNCH = {
    "type": "colab-devsync",
    "request": "launch",
    "name": "With words",
    "program": "${file}",
    "args": ["several", "words"],
}
SHOWS = "import sys\nwords = sys.argv[1:]\nprint(words)\n"
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


def test_folders(window: Window, remote: Remote, tmp_path: Path) -> None:
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
    debug(window, tmp_path)
    another_project(window, tmp_path / "loose" / ".colabremote.toml")
    removed(window)


def task(window: Window) -> None:
    """Of the second folder; it runs there."""
    window.palette("Tasks: Run Task", "try it")
    expect(window.terminal).to_contain_text("beta-2 runs on the VM")
    expect(window.terminal).to_contain_text("beta again")


def nobody_s(window: Window) -> None:
    """From a file that is in no project, somebody has to say which one."""
    window.open_file("loose.py")
    for name in ("beta", "alpha"):
        report = window.find(".output-view", f"{name}: connected").first
        window.palette_until(report, "Colab VM: Show Status", f"/{name}")


def one_client(window: Window) -> None:
    window.palette("Colab VM: Show Log")
    expect(window.output).to_contain_text("starting")
    assert window.output.inner_text().count("starting") == 1


def debug(window: Window, workspace: Path) -> None:
    """F5: without a launch.json what is in front; with one in any folder, that."""
    stopped_with(window, "alpha", "[]")
    launch = {"version": "0.2.0", "configurations": [LAUNCH]}
    (workspace / "beta" / ".vscode" / "launch.json").write_text(json.dumps(launch))
    window.palette_until(
        window.find(".statusbar-item", "With words").first,
        "Debug: Select and Start Debugging",
        "With words",
    )
    window.stop_debugging()
    stopped_with(window, "beta", "['several', 'words']")


def stopped_with(window: Window, name: str, words: str) -> None:
    window.open_file(f"{name}.py")
    window.type_over(SHOWS)
    window.save()
    window.toggle_breakpoint(3)
    window.keys("F5")
    expect(window.stopped_line).to_be_visible()
    window.show_locals()
    expect(window.variable("words", words)).to_be_visible()
    window.stop_debugging()


def another_project(window: Window, config: Path) -> None:
    """Made of the folder that is none yet; it connects at once."""
    window.palette("Create .colabremote.toml", "sandbox")
    wait_until(config.exists, "it is written")
    expect(window.find('.tab.active[aria-label^=".colabremote.toml"]')).to_be_visible()
    window.wait_status(re.compile(r"loose\s+\d+ ms"))


def removed(window: Window) -> None:
    """A folder that is not in the workspace any more is not shown either."""
    window.open_view()
    expect(window.row("beta")).to_be_visible()
    window.palette("Remove Folder from Workspace", "beta")
    expect(window.row("beta")).to_be_hidden()
    expect(window.row("alpha")).to_be_visible()
