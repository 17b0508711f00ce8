"""Interpreters to run the agent on, and agents that end with their test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.interpreters import interpreters

if sys.platform == "win32":
    collect_ignore_glob = ["*"]  # the agent runs on POSIX machines
else:
    from tests.agent.driver import Driven


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "few: on the oldest and the newest interpreter only"
    )
    config.addinivalue_line(
        "markers", "debugpy: on interpreters that the debugpy of these tests runs on"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "python" in metafunc.fixturenames:
        found = list(interpreters().items())
        if metafunc.definition.get_closest_marker("debugpy"):
            found = [one for one in found if one[0] not in ("3.8", "3.9")]
        if metafunc.definition.get_closest_marker("few"):
            found = [found[0], found[-1]] if len(found) > 1 else found
        metafunc.parametrize(
            "python", [path for _, path in found], ids=[version for version, _ in found]
        )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the agent's root will be; not there yet."""
    return tmp_path / "root"


Start = Callable[..., "Driven"]


@pytest.fixture
def start(python: str, root: Path) -> Iterator[Start]:
    """Starts agents on `root` (or another one), ended after the test."""
    started: list[Driven] = []

    def start_one(at: Path = root, **options: Any) -> Driven:
        agent = Driven(at, python, **options)
        started.append(agent)
        return agent

    yield start_one
    for agent in started:
        agent.close()


@pytest.fixture
def agent(start: Start) -> Driven:
    return start()
