"""A folder that nobody trusts yet, where the server is found, and Microsoft's debugger.

In a VS Code as it comes: nothing of ours is on PATH or in the user's settings. The
extensions `ms-python.python` and `ms-python.debugpy` are stand-ins.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.e2e.place import Place
from tests.e2e.projects import write_config
from tests.support.code_server import (
    Window,
    code_server,
    install_extension,
    require_vscode,
    wait_until,
)
from tests.support.dap import DapClient
from tests.support.remotes import Remote
from tests.vscode.stubs import debugpy_extension, python_extension

pytestmark = [pytest.mark.openssh, pytest.mark.timeout(400)]

TRAIN = "total = 0\nfor number in range(3):\n    total += number\n"
ADDS = 3  # the line
ONLINE = re.compile(r"segmentation\s+\d+ ms")
SERVER = """\
#!/bin/sh
echo "$@" >> {started}
exec {python} -m colab_devsync "$@"
"""
# A Python that has no package of ours before pip was called.
PYTHON = """\
#!/bin/sh
[ -e {installed} ] && exec {python} "$@"
[ "$2" = pip ] && echo "$@" > {installed}
"""


@dataclass(frozen=True)
class Files:
    here: Path
    server: Path  # a program, in the folder's settings
    started: Path  # a line for every start of it
    interpreter: Path  # a program, that the Python extension has chosen
    installed: Path  # the words of its call of pip
    programs: Path  # a folder on PATH
    asked: Path  # what Microsoft's debugger was asked


@pytest.fixture
def files(here: Path, remote: Remote, tmp_path: Path) -> Files:
    """The folder's own settings name a server."""
    names = (field.name for field in fields(Files))
    files = Files(**{**{name: tmp_path / name for name in names}, "here": here})
    files.programs.mkdir()
    config = write_config(here, remote)
    python = f'python = "{sys.executable}"\n'
    debug = '\n[debug]\nprefer = "debugpy"\njust_my_code = false\n'
    config.write_text(config.read_text() + python + debug)
    (here / "train.py").write_text(TRAIN)
    for program, text in ((files.server, SERVER), (files.interpreter, PYTHON)):
        paths = {"started": files.started, "installed": files.installed}
        program.write_text(text.format(python=sys.executable, **paths))
        program.chmod(0o755)
    settings = {"colabDevsync.serverCommand": [str(files.server)]}
    (here / ".vscode").mkdir()
    (here / ".vscode" / "settings.json").write_text(json.dumps(settings))
    return files


@pytest.fixture
def window(
    files: Files, place: Place, tmp_path: Path, browser: BrowserContext
) -> Iterator[Window]:
    require_vscode()
    stubs = (
        python_extension(tmp_path, files.interpreter),
        debugpy_extension(tmp_path, files.asked),
    )
    folders = os.environ["PATH"].split(os.pathsep)
    bare = [one for one in folders if not (Path(one) / "colab-devsync").exists()]
    path = os.pathsep.join([str(files.programs), *bare])
    # As started from a terminal: VS Code asks no login shell for another PATH.
    env = {**place.env, "PATH": path, "VSCODE_CLI": "1"}
    settings: dict[str, object] = {"security.workspace.trust.enabled": True}
    extensions = install_extension(tmp_path, *stubs)
    with code_server(tmp_path, extensions, env, settings) as address:
        page = browser.new_page()
        window = Window(page, "trust")
        window.open(address, files.here)
        yield window
        window.shot("end")
        page.close()


def test_trust(window: Window, files: Files) -> None:
    restricted(window, files)
    trusted(window, files)
    microsofts_debugger(window, files)
    installed_with_pip(window, files)
    found_on_path(window, files)


def restricted(window: Window, files: Files) -> None:
    """Nothing that the folder names is started."""
    window.page.get_by_role("tab", name="Colab VM").click()
    welcome = window.find(".sidebar", "Nothing connects in Restricted Mode")
    expect(welcome.first).to_be_visible()
    window.shot("restricted")
    window.palette("Restart the Language Server")
    expect(window.toast("waits until you trust this folder")).to_be_visible()
    assert not files.started.exists()
    window.palette("Clear All Notifications")


def trusted(window: Window, files: Files) -> None:
    window.palette("Workspaces: Manage Workspace Trust")
    trust = window.find(".workspace-trust-editor .monaco-button", "Trust").first
    window.until(lambda: trust.click(timeout=5000), window.status, 30_000)
    window.wait_status(ONLINE)
    assert files.started.read_text() == "lsp\n"


def microsofts_debugger(window: Window, files: Files) -> None:
    """What it is asked is right: with it a client stops at the breakpoint."""
    window.open_file("train.py")
    window.title_action("Debug File on the VM").click()
    wait_until(files.asked.exists, "Microsoft's debugger is asked")
    asked = json.loads(files.asked.read_text())
    assert asked["type"] == "debugpy"
    assert asked["request"] == "attach"
    assert asked["name"] == "Colab VM: train.py"
    assert asked["connect"]["host"] == "127.0.0.1"
    assert asked["pathMappings"][0]["localRoot"] == str(files.here)
    assert asked["justMyCode"] is False
    assert asked["subProcess"] is True
    train = str(files.here / "train.py")
    with DapClient(asked) as client:
        client.attach({train: [ADDS]})
        stop = client.wait_stop()
        assert (stop.path, stop.line) == (train, ADDS)
        client.disconnect(terminate=True)


def installed_with_pip(window: Window, files: Files) -> None:
    """No setting, nothing on PATH, nor does the chosen interpreter know the package."""
    (files.here / ".vscode" / "settings.json").write_text("{}")
    expect(window.toast("colab-devsync was not found")).to_be_visible()
    window.shot("not-found")
    window.notification_button("Install with pip").click()
    window.wait_status(ONLINE)
    assert files.installed.read_text() == "-m pip install colab-devsync\n"


def found_on_path(window: Window, files: Files) -> None:
    """It goes before the interpreter, which has the package by now."""
    (files.programs / "colab-devsync").symlink_to(files.server)
    window.palette("Restart the Language Server")
    wait_until(lambda: files.started.read_text() == "lsp\nlsp\n", "it starts")
    window.wait_status(ONLINE)
