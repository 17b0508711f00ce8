"""What the real VS Code takes: `.venv/bin/python -m tests.vscode.measure [RTT_MS]`.

Activation is what VS Code itself shows (*Show Running Extensions*). A save is timed
from the key until the file on the VM has the new content, a debug session from the
command in the palette until the stopped line is marked. Keys travel through the
browser's debugging protocol, which is part of both. Not a test: speed depends on the
machine.
"""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from tests.e2e.place import Place
from tests.e2e.projects import write_config
from tests.support.code_server import (
    Window,
    code_server,
    holds,
    install_extension,
    launch,
    require_vscode,
    wait_until,
)
from tests.support.proxy import ChaosProxy
from tests.support.remotes import Login, Remote
from tests.support.sshd import Sshd

SAVES = 15
DEBUGS = 3


def main() -> None:
    rtt_ms = float(sys.argv[1]) if len(sys.argv) > 1 else 100.0
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        here, there, home = base / "segmentation", base / "vm", base / "home"
        for folder in (here, there, home):
            folder.mkdir()
        sshd = stack.enter_context(Sshd(base / "sshd"))
        proxy = stack.enter_context(ChaosProxy(sshd.port, rtt_ms=rtt_ms))
        login = Login(proxy.port, sshd.user, sshd.identity_file, sshd.fingerprint)
        write_config(here, Remote("sshd", login, there, base / "state"))
        (here / "train.py").write_text("print('one')\n")
        place = Place(Path(tempfile.mkdtemp(prefix="devsync-")), home)
        stack.callback(place.clean)
        settings: dict[str, object] = {
            "colabDevsync.serverCommand": [sys.executable, "-m", "colab_devsync"]
        }
        extensions = install_extension(base)
        address = stack.enter_context(
            code_server(base, extensions, place.env, settings)
        )
        playwright = stack.enter_context(sync_playwright())
        browser = launch(playwright, require_vscode())
        stack.callback(browser.close)
        # Tall: the list of extensions holds only what is in view.
        page = browser.new_page(viewport={"width": 1280, "height": 2400})
        window = Window(page, "measure")
        window.open(address, here)
        window.wait_status(re.compile(r"\d+ ms"))
        report(window, there, rtt_ms)


def report(window: Window, there: Path, rtt_ms: float) -> None:
    window.open_file("train.py")
    saves = sorted(save(window, there, number) for number in range(SAVES))
    median = statistics.median(saves)
    print(
        f"Ctrl+S to VM at {rtt_ms:.0f} ms: median {median:.0f} ms, "
        f"best {saves[0]:.0f}, worst {saves[-1]:.0f}"
    )
    window.toggle_breakpoint(1)
    debugs = sorted(debug(window) for _ in range(DEBUGS))
    print(
        f"palette Debug to stopped at {rtt_ms:.0f} ms: best {debugs[0]:.1f} s, "
        f"worst {debugs[-1]:.1f} s"
    )
    print(f"activation: {activation(window)}")


def activation(window: Window) -> str:
    window.palette("Show Running Extensions")
    row = window.page.get_by_role("listitem", name="colab-devsync")
    expect(row).to_contain_text("Activation")
    return " ".join(row.inner_text().split())


def save(window: Window, there: Path, number: int) -> float:
    """Milliseconds."""
    text = f"print({number})\n"
    window.type_over(text)
    began = time.monotonic()
    window.keys("Control+s")
    return 1000 * (wait_until(holds(there / "train.py", text), "saved") - began)


def debug(window: Window) -> float:
    """Seconds."""
    window.offer("Debug File on the VM")
    row = window.find(".quick-input-list .monaco-list-row", "Debug File").first
    expect(row).to_be_visible()
    began = time.monotonic()
    row.click()
    expect(window.stopped_line).to_be_visible()
    taken = time.monotonic() - began
    window.debug_button("stop").click()
    expect(window.find(".debug-toolbar")).to_be_hidden()
    return taken


if __name__ == "__main__":
    main()
