"""What the real VS Code takes: `.venv/bin/python -m tests.vscode.measure [RTT_MS]`.

Activation is what VS Code itself shows (*Show Running Extensions*). A save is timed
from the moment the window gets the key until the file on the VM is another one; the
kernel tells that moment (inotify), and when VS Code had written the file here, which is
its own part. A debug session is timed from the command in the palette until the stopped
line is marked. Not a test: speed depends on the machine.
"""

from __future__ import annotations

import contextlib
import queue
import re
import select
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from colab_devsync.agent.inotify import CLOSE_WRITE, MOVED_TO, Inotify
from tests.e2e.place import Place
from tests.e2e.projects import write_config
from tests.support.code_server import (
    Window,
    code_server,
    install_extension,
    launch,
    require_vscode,
)
from tests.support.proxy import ChaosProxy
from tests.support.remotes import Login, Remote
from tests.support.sshd import Sshd

SAVES = 15
NOTE_KEYS = """window.addEventListener("keydown", ({ ctrlKey, key }) => {
    if (ctrlKey && key === "s") {
        window.lastSaveKey = (performance.timeOrigin + performance.now()) / 1000;
    }
}, true)"""
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
        plain = base / "plain"
        plain.mkdir()
        (plain / "train.py").write_text("print('one')\n")
        window.open(address, plain)
        without_us(window, plain)
        window.open(address, here)
        window.wait_status(re.compile(r"\d+ ms"))
        report(window, here, there, rtt_ms)


def without_us(window: Window, plain: Path) -> None:
    """What VS Code takes where the extension is not even activated."""
    window.open_file("train.py")
    window.page.evaluate(NOTE_KEYS)
    clock = Clock(plain)
    saves = [save(window, clock, number) for number in range(SAVES)]
    show("Ctrl+S to the file here, no extension", [end - key for key, end in saves])


def report(window: Window, here: Path, there: Path, rtt_ms: float) -> None:
    window.open_file("train.py")
    window.page.evaluate(NOTE_KEYS)
    clock = Clock(here, there)
    saves = [save(window, clock, number) for number in range(SAVES)]
    show(f"Ctrl+S to VM at {rtt_ms:.0f} ms", [far - key for key, _, far in saves])
    show("  of it: Ctrl+S to the file here", [near - key for key, near, _ in saves])
    show("  of it: from there to VM", [far - near for _, near, far in saves])
    window.toggle_breakpoint(1)
    debugs = sorted(debug(window) for _ in range(DEBUGS))
    print(
        f"palette Debug to stopped at {rtt_ms:.0f} ms: best {debugs[0]:.1f} s, "
        f"worst {debugs[-1]:.1f} s"
    )
    print(f"activation: {activation(window)}")


def show(name: str, taken: list[float]) -> None:
    """`taken` in seconds."""
    median, best, worst = statistics.median(taken), min(taken), max(taken)
    print(
        f"{name}: median {1000 * median:.0f} ms, best {1000 * best:.0f}, "
        f"worst {1000 * worst:.0f}"
    )


def activation(window: Window) -> str:
    window.palette("Show Running Extensions")
    row = window.page.get_by_role("listitem", name="colab-devsync")
    expect(row).to_contain_text("Activation")
    return " ".join(row.inner_text().split())


class Clock:
    """When `train.py` became another one in each of the folders. Unix seconds."""

    def __init__(self, *folders: Path) -> None:
        self._folders = folders
        self._news: queue.Queue[tuple[float, Path]] = queue.Queue()
        for folder in folders:
            watch = threading.Thread(target=self._watch, args=(folder,), daemon=True)
            watch.start()

    def _watch(self, folder: Path) -> None:
        inotify = Inotify()
        inotify.add(str(folder))
        while select.select([inotify.fd], [], []):
            now = time.time()
            for news in inotify.read():
                if news.name == "train.py" and news.mask & (CLOSE_WRITE | MOVED_TO):
                    self._news.put((now, folder))

    def start(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._news.get_nowait()

    def wait(self) -> tuple[float, ...]:
        """The first moment in each folder since `start`."""
        found: dict[Path, float] = {}
        while len(found) < len(self._folders):
            moment, folder = self._news.get(timeout=60)
            found.setdefault(folder, moment)
        return tuple(found[folder] for folder in self._folders)


def save(window: Window, clock: Clock, number: int) -> tuple[float, ...]:
    """The moments of the key, and of the file in each folder."""
    window.type_over(f"print({number})\n")
    clock.start()
    window.save()
    moments = clock.wait()
    key: float = window.page.evaluate("window.lastSaveKey")
    return key, *moments


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
