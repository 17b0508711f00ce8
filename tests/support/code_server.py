"""A real VS Code: code-server, and its window in a headless Chromium.

`scripts/install-vscode.sh` puts both in place. Nothing here waits a fixed time: every
step waits for what a person would see, with a time-out that is only reached when it
never comes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, Playwright, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

ROOT = Path(__file__).resolve().parent.parent.parent
CODE_SERVER = ROOT / ".cache/vscode/node_modules/code-server/out/node/entry.js"
NODE = ROOT / ".cache/node/bin/node"
VSIX = ROOT / "dist/colab-devsync.vsix"
SHOTS = ROOT / "build/vscode"
PATIENCE_MS = 60_000
ROW_MS = 15_000
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --disable-dev-shm-usage"
)
_LISTENING = re.compile(rb"HTTP server listening on (http://127\.0\.0\.1:\d+)")

SETTINGS: dict[str, object] = {
    "chat.commandCenter.enabled": False,
    "chat.disableAIFeatures": True,
    "debug.openDebug": "openOnDebugBreak",
    "editor.autoClosingBrackets": "never",
    "editor.autoClosingQuotes": "never",
    "editor.autoIndent": "none",
    "editor.minimap.enabled": False,
    "extensions.ignoreRecommendations": True,
    "files.autoSave": "off",
    "git.enabled": False,
    "remote.autoForwardPorts": False,
    "security.workspace.trust.enabled": False,
    "security.workspace.trust.startupPrompt": "never",
    "terminal.integrated.gpuAcceleration": "off",
    "telemetry.telemetryLevel": "off",
    "window.commandCenter": False,
    "workbench.colorTheme": "Default Light Modern",
    "workbench.layoutControl.enabled": False,
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "workbench.startupEditor": "none",
    "workbench.tips.enabled": False,
    "workbench.welcomePage.walkthroughs.openOnInstall": False,
}


def require_vscode() -> str:
    """The browser's path. Missing pieces: a skip, but an error in CI."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    missing = [str(path) for path in (CODE_SERVER, NODE, VSIX) if not path.exists()]
    if browser is not None and not missing:
        return browser
    reason = f"needs {', '.join(missing) or 'Chromium'}: `make vscode extension`"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def install_extension(folder: Path, *more: Path) -> Path:
    """An extensions folder with our VSIX in it, and `more` of them."""
    extensions = folder / "extensions"
    command = [NODE, CODE_SERVER, "--extensions-dir", extensions]
    command += ["--user-data-dir", folder / "none"]
    for vsix in (VSIX, *more):
        command += ["--install-extension", vsix]
    done = subprocess.run(
        command,
        env={**os.environ, "EXTENSIONS_GALLERY": "{}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "successfully installed" in done.stdout, done.stdout + done.stderr
    return extensions


@contextlib.contextmanager
def code_server(
    folder: Path, extensions: Path, env: Mapping[str, str], settings: dict[str, object]
) -> Iterator[str]:
    """A server of its own; yields its address. Ends with all its processes."""
    settings = {**SETTINGS, **settings}
    data = folder / "user-data"
    # What belongs to a machine is read from the second file only.
    for name in ("User", "Machine"):
        (data / name).mkdir(parents=True)
        text = json.dumps(settings)
        (data / name / "settings.json").write_text(text)
    config = folder / "code-server.yaml"
    config.write_text("")
    command = [NODE, CODE_SERVER, "--config", config, "--bind-addr", "127.0.0.1:0"]
    command += ["--auth", "none", "--user-data-dir", data]
    command += ["--extensions-dir", extensions, "--disable-telemetry"]
    command += ["--disable-update-check"]
    if not settings["security.workspace.trust.enabled"]:
        command += ["--disable-workspace-trust"]
    log = folder / "code-server.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command,
            env={**env, "EXTENSIONS_GALLERY": "{}"},
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    try:
        yield _address(process, log)
    finally:
        # The extension host outlives the server's main process.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        assert process.stdout is not None
        process.stdout.close()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := _LISTENING.search(line):
            return found[1].decode()
    raise AssertionError(f"code-server ended: {log.read_text()}")


def launch(playwright: Playwright, browser: str) -> Browser:
    return playwright.chromium.launch(
        executable_path=browser, headless=True, args=_FLAGS.split()
    )


def wait_until(look: Callable[[], object], what: str, timeout_s: float = 60) -> float:
    """Until `look` is true; nobody tells us of a file on the VM. Returns the moment."""
    deadline = time.monotonic() + timeout_s
    while not look():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.002)
    return time.monotonic()


def holds(path: Path, text: str) -> Callable[[], bool]:
    return lambda: path.exists() and path.read_text() == text


class Window:
    """One window on a folder or workspace, and what a person does in it."""

    def __init__(self, page: Page, name: str) -> None:
        self.page = page
        self.name = name
        self._shots = 0
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)

    def open(self, address: str, folder: Path) -> None:
        kind = "workspace" if folder.is_file() else "folder"
        self.page.goto(f"{address}/?{kind}={folder}")
        expect(self.find(".explorer-folders-view").first).to_be_visible()

    def find(self, selector: str, text: str | re.Pattern[str] | None = None) -> Locator:
        return self.page.locator(selector, has_text=text)

    def keys(self, *names: str) -> None:
        for name in names:
            self.page.keyboard.press(name)

    def shot(self, name: str) -> None:
        """Kept as build/vscode/TEST-NN-NAME.png."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self._shots += 1
        path = SHOTS / f"{self.name}-{self._shots:02}-{name}.png"
        self.page.screenshot(path=path)

    def until(
        self, act: Callable[[], object], effect: Locator, ms: int = ROW_MS
    ) -> None:
        """Does again what VS Code may lose while it draws, until `effect` shows."""
        for _ in range(4):
            with contextlib.suppress(AssertionError, PlaywrightTimeout):
                act()
                expect(effect).to_be_visible(timeout=ms)
                return
        expect(effect).to_be_visible()

    def until_gone(self, act: Callable[[], object], what: Locator) -> None:
        """Does it again, until `what` has gone."""
        for _ in range(8):
            with contextlib.suppress(AssertionError, PlaywrightTimeout):
                act()
                expect(what).to_be_hidden(timeout=ROW_MS)
            if not what.is_visible():
                return
        expect(what).to_be_hidden()

    # --- palette, files -----------------------------------------------------------

    def _take(self, text: str) -> bool:
        """The row of the open quick input that says `text`. A quick input closes when
        anything else takes the focus, a terminal that starts for example."""
        row = self.find(".quick-input-list .monaco-list-row", text).first
        try:
            expect(row).to_be_visible(timeout=ROW_MS)
            row.click(timeout=ROW_MS)
            expect(row).to_be_hidden(timeout=ROW_MS)
        except (AssertionError, PlaywrightTimeout):
            return False
        return True

    def _choose(self, key: str, typed: str, *rows: str) -> None:
        """Row after row, from the beginning when a quick input closed on the way."""
        for _ in range(4):
            self._quick_input(key).fill(typed)
            if all(self._take(row) for row in rows):
                return
        raise AssertionError(f"{typed} does not lead to {rows[-1]}")

    def _quick_input(self, key: str) -> Locator:
        """Opened by `key`, which is lost on a window that is busy."""
        box = self.find(".quick-input-widget input[type=text]").first
        for _ in range(12):
            self.keys(key)
            with contextlib.suppress(AssertionError):
                expect(box).to_be_visible(timeout=5000)
                return box
        raise AssertionError(f"{key} opens nothing")

    def offer(self, command: str) -> None:
        """The palette, with what was typed into it."""
        self._quick_input("F1").fill(f">{command}")

    def palette(self, command: str, *rows: str) -> None:
        """A command of the palette, and the rows it asks for."""
        self._choose("F1", f">{command}", command, *rows)

    def palette_until(self, effect: Locator, command: str, *rows: str) -> None:
        """As `palette`, for what may be done twice: a list that is drawn anew may take
        a click for another row."""
        self.until(lambda: self.palette(command, *rows), effect)

    def open_file(self, name: str) -> None:
        # Not a comparison with that file, whose title begins with the name.
        tab = self.find(f'.tab.active[aria-label="{name}"]')
        self.until(lambda: self._choose("Control+p", name, name), tab)
        expect(self.find(".editor-instance .view-line").first).to_be_visible()

    @property
    def lines(self) -> Locator:
        return self.find(".editor-group-container.active .view-lines").first

    def type_over(self, text: str) -> None:
        """Replaces what is in the active editor, until it shows that: what is typed
        while VS Code still changes editors is lost."""
        for _ in range(20):
            self.lines.click()
            self.keys("Control+a")
            self.page.keyboard.insert_text(text)
            deadline = time.monotonic() + 3
            while time.monotonic() < deadline:
                if self._shows_the_end_of(text):
                    return
                self.page.wait_for_timeout(20)
        raise AssertionError(f"the editor does not take {text!r}")

    def _shows_the_end_of(self, text: str) -> bool:
        """Lines of it and no others, the last among them; they stand in no order."""
        *_, last = text.split("\n")[:-1] or [text]
        found = self.lines.locator(".view-line").all_inner_texts()
        shown = {line.replace("\xa0", " ").strip("\n") for line in found}
        return last in shown and shown <= {*text.split("\n"), ""}

    def save(self) -> None:
        saved = self.find(".tab.active:not(.dirty)")
        self.until(lambda: self.keys("Control+s"), saved)

    # --- ours ---------------------------------------------------------------------

    @property
    def status(self) -> Locator:
        return self.find('[id="colab-devsync.colab-devsync.colabDevsync"]')

    def wait_status(self, text: str | re.Pattern[str]) -> None:
        expect(self.status).to_contain_text(text)

    def title_action(self, label: str) -> Locator:
        return self.find(
            f'.editor-group-container.active .editor-actions a[aria-label="{label}"]'
        )

    @property
    def output(self) -> Locator:
        return self.find(
            ".output-view .view-lines, .output-view-content .view-lines"
        ).first

    @property
    def terminal(self) -> Locator:
        return self.find(".terminal-wrapper.active .xterm-screen").first

    def type_in_terminal(self, line: str, is_done: Callable[[], bool]) -> None:
        """Again, when it is without effect: something else took the focus."""
        for _ in range(4):
            self.terminal.click()
            self.page.keyboard.insert_text(line)
            self.keys("Enter")
            with contextlib.suppress(AssertionError):
                wait_until(is_done, line, ROW_MS / 1000)
                return
        raise AssertionError(f"the terminal does nothing for {line}")

    def menu(self, place: Locator, label: str) -> None:
        """Of the context menu. VS Code ignores a click that comes as the menu does."""
        place.click(button="right")
        item = self.find(".monaco-menu .action-item", label).first
        expect(item).to_be_visible()
        for _ in range(40):
            with contextlib.suppress(AssertionError, PlaywrightTimeout):
                item.click(timeout=1500)
                expect(item).to_be_hidden(timeout=1500)
            if not item.is_visible():
                return
        raise AssertionError(f"the menu stays open at {label}")

    def answer(self, title: str, text: str) -> None:
        """Into the input box with that title."""
        asked = self.find(".quick-input-widget .quick-input-title", title).first
        expect(asked).to_be_visible()
        box = self.find(".quick-input-widget .quick-input-box input").first

        def enter() -> None:
            box.fill(text, timeout=ROW_MS)
            box.press("Enter", timeout=ROW_MS)

        self.until_gone(enter, asked)

    def notification_button(self, label: str) -> Locator:
        return self.find(".notification-toast .monaco-button", label).first

    def toast(self, text: str) -> Locator:
        return self.find(".notification-toast", text).first

    def hover_on(self, word: str, wanted: str) -> None:
        """Points at `word`, a line's first, until the hover says `wanted`."""
        place = self.find(".editor-group-container.active .view-line", word).first
        hover = self.find(".monaco-hover:visible", wanted).first
        for _ in range(20):
            place.get_by_text(word).first.hover(position={"x": 12, "y": 8})
            with contextlib.suppress(AssertionError):
                expect(hover).to_be_visible(timeout=3000)
                return
            self.page.mouse.move(5, 5)
        raise AssertionError(f"no hover says {wanted}")

    def follow_link(self, text: str, line: int) -> None:
        """In the output, to a line. Links work a while after the text shows."""
        for _ in range(20):
            self.output.get_by_text(text).last.click(modifiers=["Control"])
            with contextlib.suppress(AssertionError):
                expect(self.cursor_at(line)).to_be_visible(timeout=2000)
                return
        raise AssertionError(f"{text} leads nowhere")

    # --- debugging ----------------------------------------------------------------

    def toggle_breakpoint(self, line: int) -> None:
        """Clicks beside the number until the dot is there: clicks before VS Code knows
        that Python has breakpoints do nothing."""
        editor = self.find(".editor-group-container.active .monaco-editor").first
        number = editor.locator(".line-numbers", has_text=re.compile(rf"^{line}$"))
        dots = editor.locator(".glyph-margin-widgets .codicon-debug-breakpoint")
        before = dots.count()
        for _ in range(40):
            box = number.bounding_box()
            margin = editor.locator(".glyph-margin").first.bounding_box()
            assert box is not None
            assert margin is not None
            self.page.mouse.click(margin["x"] + 10, box["y"] + box["height"] / 2)
            with contextlib.suppress(AssertionError):
                expect(dots).to_have_count(before + 1, timeout=1500)
                return
        raise AssertionError("no breakpoint appears")

    def debug_button(self, name: str) -> Locator:
        return self.find(f".debug-toolbar .codicon-debug-{name}")

    def go_on(self, button: str, effect: Locator) -> None:
        """Presses a button of the debugger, whose row is drawn anew at every stop."""
        self.until(lambda: self.debug_button(button).click(timeout=ROW_MS), effect)

    def stop_debugging(self) -> None:
        bar = self.find(".debug-toolbar")
        stop = self.debug_button("stop")
        self.until_gone(lambda: stop.click(timeout=ROW_MS), bar)

    @property
    def stopped_line(self) -> Locator:
        return self.find(".debug-top-stack-frame-line").first

    def show_locals(self) -> None:
        row = self.find(".debug-variables .monaco-list-row", "Locals").first
        self.expand(row)

    def expand(self, row: Locator) -> None:
        """A row of a tree, which is drawn anew with every status."""
        expect(row).to_be_visible()
        for _ in range(20):
            if row.get_attribute("aria-expanded") == "true":
                return
            with contextlib.suppress(PlaywrightTimeout):
                row.locator(".monaco-tl-twistie").click(timeout=3000)
            with contextlib.suppress(AssertionError):
                expect(row).to_have_attribute("aria-expanded", "true", timeout=3000)
        raise AssertionError("the row stays closed")

    def variable(self, name: str, value: str = "") -> Locator:
        text = re.compile(rf"^\s*{name}\s*=\s*{re.escape(value)}")
        return self.find(".debug-variables .monaco-list-row", text).first

    def cursor_at(self, line: int) -> Locator:
        """In the status bar. A program that stops takes the cursor there."""
        return self.find(".statusbar-item", re.compile(rf"Ln {line}, Col 1"))

    # --- the view "Colab VM" ------------------------------------------------------

    def open_view(self) -> None:
        title = self.find(".sidebar .title-label, .sidebar .title", "Colab VM").first
        if not title.is_visible():
            self.palette_until(title, "Focus on Colab VM View")

    def wait_row(self, text: str, says: str | re.Pattern[str]) -> None:
        """Until the row with `text` says so. VS Code shows its own view of a debug
        session when that pleases it: ours is opened again."""
        for _ in range(12):
            self.open_view()
            with contextlib.suppress(AssertionError):
                expect(self.row(text)).to_contain_text(says, timeout=5000)
                return
        shown = self.find(".sidebar .monaco-list-row").all_inner_texts()
        raise AssertionError(f"no row {text} that says {says!r}: {shown}")

    def row(self, text: str) -> Locator:
        return self.find(".sidebar .monaco-list-row", text).first
