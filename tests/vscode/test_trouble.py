"""What goes wrong, and what only the VM has: in a real VS Code, against a real sshd."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.projects import write_config
from tests.support.code_server import Window, holds, wait_until
from tests.support.proxy import ChaosProxy
from tests.support.remotes import Remote
from tests.support.servers import Server

pytestmark = [pytest.mark.openssh, pytest.mark.timeout(400)]

PULL = '\n[[pull]]\nremote = "checkpoints"\ninclude = ["*.pt"]\nevery = 1\n'
FOREVER = "import time\nprint('runs', flush=True)\ntime.sleep(1000)\n"
NEXT = "RATE = 4\nprint(RATE)\n"
PAGE = "<h1>Served by the VM</h1>"


@dataclass(frozen=True)
class Open:
    """A window on a project, and the other side of it."""

    window: Window
    here: Path
    there: Path
    proxy: ChaosProxy


@pytest.fixture
def project(
    open_window: Callable[[Path], Window],
    here: Path,
    remote: Remote,
    make_proxy: Callable[..., ChaosProxy],
) -> Open:
    (here / "train.py").write_text("RATE = 1\n")
    proxy = make_proxy(remote.login.port, rtt_ms=20)
    config = write_config(here, remote, port=proxy.port)
    config.write_text(config.read_text() + PULL)
    window = open_window(here)
    window.wait_status(re.compile(r"segmentation\s+\d+ ms"))
    return Open(window, here, remote.root, proxy)


def test_trouble(project: Open) -> None:
    configuration(project)
    conflict(project)
    link_cut(project)
    page_of_the_vm(project)
    checkpoint(project)
    palette(project)
    terminal(project)


def configuration(project: Open) -> None:
    """A wrong key, its explanation, a hover, a completion."""
    window = project.window
    window.open_file(".colabremote.toml")
    text = (project.here / ".colabremote.toml").read_text()
    window.type_over(text.replace("every =", "evry ="))
    squiggle = window.find(".squiggly-error").first
    expect(squiggle).to_be_visible()
    window.hover_on("evry", "every")
    window.shot("wrong-key")
    window.type_over(text + "\n[sync]\n")
    expect(squiggle).to_be_hidden()
    window.hover_on("provider", "sandbox")
    offered = window.find(".suggest-widget .monaco-list-row", "mode").first

    def complete() -> None:
        window.keys("Escape")
        window.type_over(text + "\n[sync]\n")
        window.keys("Control+End")
        window.page.keyboard.type("mo")

    window.until(complete, offered)
    window.shot("completion")
    window.keys("Escape")
    window.type_over(text)
    window.save()


def conflict(project: Open) -> None:
    window, there = project.window, project.there / "train.py"
    window.open_file("train.py")
    there.write_text("RATE = 3  # tried on the VM\n")
    window.type_over("RATE = 2\n")
    window.save()
    window.wait_status("1 conflict")
    diff = window.find(".monaco-diff-editor", "tried on the VM").first
    window.palette_until(diff, "Show Conflicts")
    window.open_view()
    expect(window.row("Conflicts")).to_be_visible()
    window.shot("conflict")
    window.title_action("Keep My Version").click()
    expect(window.status).not_to_contain_text("conflict")
    wait_until(holds(there, "RATE = 2\n"), "my version is on the VM")
    window.open_file("train.py")
    there.write_text("RATE = 5\n")
    window.type_over("RATE = 6\n")
    window.save()
    window.wait_status("1 conflict")
    window.palette("Resolve a Conflict", "Take the VM's Version")
    expect(window.status).not_to_contain_text("conflict")
    wait_until(holds(project.here / "train.py", "RATE = 5\n"), "the VM's is here")
    window.open_file("train.py")
    # Else VS Code would find, when it saves, that the file is newer than what it read.
    expect(window.lines).to_contain_text("RATE = 5")


def link_cut(project: Open) -> None:
    """Nothing blocks while the VM is away: all says so, and goes on when it is back."""
    window, there = project.window, project.there / "train.py"
    window.open_file("train.py")
    window.type_over(FOREVER)
    window.save()
    window.title_action("Run File on the VM").click()
    expect(window.output).to_contain_text("runs")
    project.proxy.freeze()
    window.wait_status("connection lost")
    waits = window.toast("train-1 is not stopped yet")
    window.palette_until(waits, "Stop a Run", "train-1")
    window.palette("Clear All Notifications")
    window.type_over(NEXT)
    window.save()
    window.toggle_breakpoint(2)
    window.title_action("Run File on the VM").click()
    expect(window.toast("Starting train.py waits")).to_be_visible()
    window.title_action("Debug File on the VM").click()
    expect(window.toast("Debugging train.py waits")).to_be_visible()
    window.shot("link-lost")
    project.proxy.unfreeze()
    project.proxy.reset_all()
    window.wait_status(re.compile(r"segmentation\s+\d+ ms"))
    wait_until(holds(there, NEXT), "what was saved meanwhile is on the VM")
    expect(window.stopped_line).to_be_visible()
    window.stop_debugging()
    window.palette("Clear All Notifications")
    window.wait_row("train-1", "SIGINT")
    for run in ("train-2", "train-3"):
        window.wait_row(run, re.compile("done|SIG"))


def page_of_the_vm(project: Open) -> None:
    window = project.window
    (project.there / "index.html").write_text(PAGE)
    with Server("http", folder=project.there) as server:
        window.palette("Forward a Port of the VM")
        window.answer("Port of the VM", str(server.port))
        window.notification_button("Open").click()
        inside = window.page.frame_locator("iframe.webview").last
        page = inside.frame_locator("iframe").frame_locator("iframe")
        expect(page.locator("h1")).to_have_text("Served by the VM")
        window.shot("page")


def checkpoint(project: Open) -> None:
    window = project.window
    folder = project.there / "checkpoints"
    folder.mkdir()
    (folder / "epoch-1.pt").write_bytes(b"weights" * 1000)
    window.open_view()
    expect(window.row("epoch-1.pt")).to_be_visible()
    pulled = project.here / "checkpoints" / "epoch-1.pt"
    wait_until(holds(pulled, "weights" * 1000), "it is whole")
    window.expand(window.row("VM"))
    expect(window.row("GPU")).to_be_visible()
    hover = window.find(".monaco-hover", "Round trip").first

    def point() -> None:  # the item is drawn anew with every round trip
        window.page.mouse.move(5, 5)
        window.status.hover()

    window.until(point, hover, 3000)
    window.shot("checkpoint")


def terminal(project: Open) -> None:
    window = project.window
    window.palette("Open a Terminal on the VM")
    is_there = holds(project.there / "where.txt", f"{project.there.resolve()}\n")
    window.type_in_terminal("pwd -P > where.txt", is_there)


def palette(project: Open) -> None:
    """Commands that answer with a report or with files."""
    window = project.window
    report = window.find(".output-view", "agent: Python").first
    window.palette_until(report, "Check Everything (Doctor)")
    window.palette("Set Up Another Editor", "helix")
    written = project.here / ".helix" / "languages.toml"
    wait_until(written.exists, "Helix is set up")
