"""A project on a real sshd behind a chaos proxy, open in a real VS Code."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, sync_playwright

from tests.e2e.place import Place
from tests.support.code_server import (
    Window,
    code_server,
    install_extension,
    launch,
    require_vscode,
)
from tests.support.proxy import ChaosProxy

SERVER = [sys.executable, "-m", "colab_devsync"]


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One daemon for all windows, as at home."""
    # A Unix socket's path may have 100 characters at most.
    folder = Path(tempfile.mkdtemp(prefix="devsync-"))
    made = Place(folder, tmp_path_factory.mktemp("home"))
    try:
        yield made
    finally:
        made.clean()


@pytest.fixture(scope="session")
def address(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a code-server that has the extension."""
    require_vscode()
    folder = tmp_path_factory.mktemp("vscode")
    extensions = install_extension(folder)
    settings: dict[str, object] = {"colabDevsync.serverCommand": SERVER}
    with code_server(folder, extensions, place.env, settings) as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[BrowserContext]:
    """All windows share its cache."""
    with sync_playwright() as playwright:
        browser = launch(playwright, require_vscode())
        yield browser.new_context(viewport={"width": 1280, "height": 800})
        browser.close()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The project's folder; `.colabremote.toml` is written by the test."""
    folder = tmp_path / "segmentation"
    folder.mkdir()
    return folder


@pytest.fixture
def open_window(
    request: pytest.FixtureRequest,
    address: str,
    browser: BrowserContext,
    make_proxy: Callable[..., ChaosProxy],  # so that proxies end after the window
) -> Iterator[Callable[[Path], Window]]:
    """`open_window(folder)`: VS Code on that folder. Its last view is kept."""
    name = request.node.name.partition("[")[0].removeprefix("test_")
    page = browser.new_page()
    window = Window(page, name)

    def open_it(folder: Path) -> Window:
        window.open(address, folder)
        return window

    try:
        yield open_it
    finally:
        window.shot("end")
        page.close()
