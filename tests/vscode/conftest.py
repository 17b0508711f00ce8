"""A project on a real sshd behind a chaos proxy, open in a real VS Code."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.e2e.place import Place
from tests.support.vscode import (
    Window,
    code_server,
    install_extension,
    launch,
    require_vscode,
)

SERVER = [sys.executable, "-m", "colab_devsync"]


@pytest.fixture(scope="session")
def extensions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_vscode()
    return install_extension(tmp_path_factory.mktemp("vscode"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = require_vscode()
    with sync_playwright() as playwright:
        browser = launch(playwright, path)
        yield browser
        browser.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="devsync-"))
    home = tmp_path / "home"
    home.mkdir()
    made = Place(folder, home)
    try:
        yield made
    finally:
        made.clean()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The project's folder; `.colabremote.toml` is written by the test."""
    folder = tmp_path / "segmentation"
    folder.mkdir()
    return folder


@pytest.fixture
def open_window(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    place: Place,
    extensions: Path,
    browser: Browser,
) -> Iterator[Callable[[Path], Window]]:
    """`open_window(folder)`: VS Code on that folder. Its last view is kept if the test
    fails."""
    name = request.node.name.partition("[")[0].removeprefix("test_")
    settings: dict[str, object] = {"colabDevsync.serverCommand": SERVER}
    with code_server(tmp_path, extensions, place.env, settings) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        window = Window(page, name)

        def open_it(folder: Path) -> Window:
            window.open(address, folder)
            return window

        try:
            yield open_it
        finally:
            window.shot("end")
            page.close()
