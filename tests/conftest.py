"""Fixtures for every test: the far side, and a chaos proxy in front of it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.agent.interpreters import MINORS, interpreters
from tests.support.proxy import ChaosProxy
from tests.support.remotes import Remote, RemoteServer
from tests.support.sshd import Options, Sshd

KINDS = {"sandbox": ["sandbox"], "sshd": ["sshd"], "both": ["sandbox", "sshd"]}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--remote",
        choices=list(KINDS),
        default="both",
        help="far side of integration tests: the embedded sandbox, a real sshd, both",
    )


def pytest_report_header(config: pytest.Config) -> list[str]:
    found = list(interpreters())
    missing = [f"3.{minor}" for minor in MINORS if f"3.{minor}" not in found]
    return [
        f"remote: {', '.join(KINDS[config.getoption('--remote')])}",
        f"agent on Python {', '.join(found)}; not here: {', '.join(missing) or 'none'}",
    ]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI on Linux, where everything can be installed, a skip is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") != "true" or sys.platform != "linux" or reporter is None:
        return
    skipped = reporter.stats.get("skipped", [])
    for report in skipped:
        reporter.write_line(f"CI=true, but skipped: {report.nodeid}: {report.longrepr}")
    if skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "openssh: against a real sshd only")
    # In the background of a shell, ctrl-C is ignored, and programs would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "remote_kind" in metafunc.fixturenames:
        kinds = KINDS[metafunc.config.getoption("--remote")]
        if metafunc.definition.get_closest_marker("openssh") is not None:
            kinds = KINDS["sshd"]
        metafunc.parametrize("remote_kind", kinds, scope="session")


@pytest.fixture(scope="session")
def remote_server(
    remote_kind: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RemoteServer]:
    """One server per kind and test run."""
    server = RemoteServer(remote_kind, tmp_path_factory.mktemp(remote_kind))
    yield server
    server.close()


@pytest.fixture
def remote(remote_server: RemoteServer, tmp_path: Path) -> Iterator[Remote]:
    """The far side, with an empty folder of its own; runs once per kind."""
    root = tmp_path / "vm"
    root.mkdir()
    remote = Remote(remote_server.kind, remote_server.login, root, tmp_path / "state")
    yield remote
    remote.close()


@pytest.fixture
def make_proxy() -> Iterator[Callable[..., ChaosProxy]]:
    """`make_proxy(port, rtt_ms=50)`: a chaos proxy that ends with the test."""
    with ExitStack() as stack:

        def make(
            target_port: int, *, rtt_ms: float = 0, bandwidth: float = 0
        ) -> ChaosProxy:
            proxy = ChaosProxy(target_port, rtt_ms=rtt_ms, bandwidth=bandwidth)
            return stack.enter_context(proxy)

        yield make


@pytest.fixture
def proxy(remote: Remote, make_proxy: Callable[..., ChaosProxy]) -> ChaosProxy:
    """A chaos proxy in front of `remote`: `remote.connect(proxy.port)`."""
    return make_proxy(remote.login.port)


@pytest.fixture
def make_sshd(tmp_path: Path) -> Iterator[Callable[..., Sshd]]:
    """`make_sshd(forwarding=False)`: an own OpenSSH server with special options."""
    with ExitStack() as stack:
        count = 0

        def make(**options: object) -> Sshd:
            nonlocal count
            count += 1
            folder = tmp_path / f"sshd-{count}"
            return stack.enter_context(Sshd(folder, Options(**options)))  # type: ignore[arg-type]

        yield make
