"""Every way in which an agent fails to start has its own words."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from colab_devsync.errors import (
    AgentCrashed,
    DevsyncError,
    LinkLost,
    NoisyShell,
    NoPython,
    ProtocolMismatch,
    PythonTooOld,
)
from colab_devsync.remote.bootstrap import Ending, classify, command, payload
from colab_devsync.remote.client import AgentClient
from tests.support.local_shell import LocalShell, LocalStream

if sys.platform == "win32":
    pytest.skip("there is no login shell to start in", allow_module_level=True)

PATIENCE_S = 60.0
Starter = Callable[..., AgentClient]
Script = Callable[[str], str]


class Shells(LocalShell):
    """Gives its pipes back at the end."""

    def dispose(self) -> None:
        self.close()
        for stream in self._streams:
            assert isinstance(stream, LocalStream)
            stream.dispose()

    def process(self) -> subprocess.Popen[bytes]:
        stream = self._streams[0]
        assert isinstance(stream, LocalStream)
        return stream.process


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Makes an executable shell script; its path."""

    def make(body: str) -> str:
        path = tmp_path / f"script{len(list(tmp_path.iterdir()))}"
        path.write_text("#!/bin/sh\n" + body)
        path.chmod(0o755)
        return str(path)

    return make


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Starts an agent in a shell; its client."""
    from colab_devsync.remote.bootstrap import start_agent

    used: list[tuple[Shells, AgentClient | None]] = []

    def start_in(
        shell: str = "/bin/sh",
        python: str = sys.executable,
        timeout_s: float = PATIENCE_S,
    ) -> AgentClient:
        connection = Shells(shell)
        used.append((connection, None))
        hello = {"root": str(tmp_path / "root"), "client": "me", "streams": 1}
        client, _ = start_agent(
            connection, python=python, hello=hello, timeout_s=timeout_s
        )
        used[-1] = (connection, client)
        return client

    yield start_in
    for connection, client in used:
        if client is not None:
            client.close()
            wait_for_threads("devsync-agent-reader")
        connection.dispose()
    wait_for_threads("devsync-bootstrap")


def wait_for_threads(name: str) -> None:
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(PATIENCE_S)


def failure(
    start: Starter, kind: type[DevsyncError], **options: object
) -> DevsyncError:
    with pytest.raises(kind) as failed:
        start(**options)
    assert type(failed.value) is kind
    assert failed.value.hint or kind in (LinkLost, ProtocolMismatch)
    return failed.value


# --- python -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "python",
    ["no-such-python", "/no/such/python3", "~/no such/python", "/etc/passwd", "/"],
)
def test_no_usable_python(start: Starter, python: str) -> None:
    error = failure(start, NoPython, python=python)
    assert repr(python) in error.message
    assert "\n" not in error.message
    assert "`python` in [remote]" in error.hint


def old_interpreters() -> list[str]:
    versions = Path.home() / ".pyenv" / "versions"
    return [
        str(path)
        for pattern in ("2.*", "3.[4-7].*")
        for path in sorted(versions.glob(pattern + "/bin/python"))
    ]


@pytest.mark.parametrize("python", old_interpreters(), ids=lambda path: path[-20:])
def test_an_old_python_says_so_in_one_line(start: Starter, python: str) -> None:
    error = failure(start, PythonTooOld, python=python)
    assert "needs Python 3.8 or newer" in error.message
    assert "\n" not in error.message
    assert "usage" not in error.message
    assert "[remote]" in error.hint


def test_an_incomplete_python(start: Starter, script: Script) -> None:
    hide = "import sys; sys.modules['zlib'] = None;"
    python = script(f'shift 3\nexec {shlex.quote(sys.executable)} -I -S -c "{hide}$1"')
    error = failure(start, NoPython, python=python)
    assert "is incomplete" in error.message
    assert "zlib" in error.message


def test_a_killed_agent(start: Starter, script: Script) -> None:
    error = failure(start, AgentCrashed, python=script("kill -9 $$"))
    assert "ended while it started (exit status -9)" in error.message
    assert "out of memory" in error.hint


def test_an_agent_that_dies_with_words(start: Starter, script: Script) -> None:
    error = failure(start, AgentCrashed, python=script("echo 'no way' >&2; exit 3"))
    assert error.message.endswith("(exit status 3): no way")


def test_an_agent_killed_after_it_started(start: Starter, script: Script) -> None:
    client = start(python=script(f'echo "some words" >&2; exec {sys.executable} "$@"'))
    lost: list[DevsyncError] = []
    told = threading.Event()

    def on_lost(error: DevsyncError) -> None:
        lost.append(error)
        told.set()

    client.on_lost = on_lost
    stream = client._stream
    assert isinstance(stream, LocalStream)
    stream.process.send_signal(signal.SIGKILL)
    assert told.wait(PATIENCE_S)
    assert isinstance(lost[0], AgentCrashed)
    assert lost[0].message == "The agent on the VM ended; it said: some words."


# --- shells -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sh", "bash", "dash", "zsh", "fish", "tcsh", "csh"])
def test_login_shells(start: Starter, name: str) -> None:
    shell = shutil.which(name)
    if shell is None:
        pytest.skip(f"no {name} here")
    client = start(shell)
    assert client.request({"op": "list"}).meta() == {"paths": []}


@pytest.mark.parametrize("name", ["sh", "bash", "zsh", "fish", "tcsh"])
def test_odd_names_of_python_in_every_shell(
    start: Starter, name: str, tmp_path: Path
) -> None:
    shell = shutil.which(name)
    if shell is None:
        pytest.skip(f"no {name} here")
    python = tmp_path / "my 'own' $HOME \"python\""
    python.symlink_to(sys.executable)
    client = start(shell, python=str(python))
    assert client.request({"op": "list"}).meta() == {"paths": []}


def test_python_in_the_home_folder() -> None:
    assert command("~/my env/bin/python").startswith("exec ~/'my env/bin/python' -I")


def test_a_shell_that_prints_first_works(start: Starter, script: Script) -> None:
    shell = script(
        'echo "Welcome!"; echo "oops" >&2; printf "\\0\\0colab"\nexec sh "$@"'
    )
    client = start(shell)
    assert client.request({"op": "list"}).meta() == {"paths": []}


def test_a_shell_that_only_prints(start: Starter, script: Script) -> None:
    error = failure(start, NoisyShell, shell=script("echo This account is locked."))
    assert "'This account is locked.'" in error.message
    assert "~/.bashrc" in error.hint


def test_a_shell_that_prints_for_ever(start: Starter, script: Script) -> None:
    began = time.monotonic()
    error = failure(start, NoisyShell, shell=script("exec yes endless"))
    assert time.monotonic() - began < PATIENCE_S / 2
    assert len(error.message) < 1000


def noise(start: Starter, shell: str, timeout_s: float) -> DevsyncError:
    """With more time, if the machine was too busy for the shell to say anything."""
    try:
        return failure(start, NoisyShell, shell=shell, timeout_s=timeout_s)
    except LinkLost:
        return failure(start, NoisyShell, shell=shell, timeout_s=15)


def test_a_shell_that_prints_slowly_for_ever(start: Starter, script: Script) -> None:
    shell = script("while :; do echo more; sleep 0.1; done")
    assert "more" in noise(start, shell, timeout_s=0.6).message


def test_a_shell_that_echoes(start: Starter, script: Script) -> None:
    noise(start, script("exec cat"), timeout_s=1)


def test_a_shell_that_hangs(start: Starter, script: Script) -> None:
    error = failure(start, LinkLost, shell=script("exec sleep 60"), timeout_s=0.5)
    assert error.message == "The VM did not start the agent in time."
    assert "~/.bashrc" in error.hint


def test_an_agent_that_starts_and_hangs(start: Starter, script: Script) -> None:
    shell = script("printf '\\0\\0colab-devsync-agent 1\\n'; exec sleep 60")
    error = failure(start, LinkLost, shell=shell, timeout_s=0.5)
    if error.message == "The VM did not start the agent in time.":  # a busy machine
        error = failure(start, LinkLost, shell=shell, timeout_s=15)
    assert error.message.startswith("The agent did not shake hands in ")


def test_a_greeting_nobody_understands(start: Starter, script: Script) -> None:
    frame = "\\0\\0\\0\\1\\0\\0\\0\\2\\0\\0\\0\\0{}"
    shell = script(f"printf '\\0\\0colab-devsync-agent 1\\n{frame}'; exec sleep 60")
    error = failure(start, ProtocolMismatch, shell=shell)
    assert "greeting" in error.message


# --- decisions --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        (Ending(127, "sh: python3: not found", "", late=False), NoPython),
        (Ending(126, "", "Welcome", late=False), NoPython),
        (Ending(98, "a warning\nPython 3.6", "", late=False), PythonTooOld),
        (Ending(2, "Unknown option: -I\nusage: …", "", late=False), PythonTooOld),
        (Ending(2, "unknown option -I", "", late=False), PythonTooOld),
        (Ending(1, "ImportError: No module named zlib", "", late=False), NoPython),
        (Ending(0, "", "noise", late=False), NoisyShell),
        (Ending(None, "", "noise", late=True), NoisyShell),
        (Ending(None, "", "", late=True), LinkLost),
        (Ending(-9, "", "", late=False), AgentCrashed),
        (Ending(None, "last words", "", late=False), AgentCrashed),
        (Ending(0, "", "", late=False), AgentCrashed),
    ],
)
def test_each_ending_has_its_error(ending: Ending, kind: type[DevsyncError]) -> None:
    assert type(classify(ending, "python3")) is kind


def test_no_sign_of_anything_is_the_link() -> None:
    assert classify(Ending(None, "", "", late=False), "python3") is None


def test_the_agent_is_small() -> None:
    assert int(payload()[:10]) == len(payload()) - 10
    # A new TCP connection carries this much in three flights.
    assert len(payload()) <= 43_800
