"""How debugpy gets there: found, installed in private, let into running programs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest

from colab_devsync.agent import debugger, sparing
from tests.support.dap import DapClient
from tests.support.tracing import obstacle

SOURCE = Path(debugger.__file__).read_text(encoding="utf-8")
SPARING = Path(sparing.__file__).read_text(encoding="utf-8")
WAIT_S = 90.0
COUNT = "import time\nn = 0\nwhile True:\n    n += 1\n    time.sleep(0.02)\n"


@pytest.fixture
def bare(tmp_path: Path) -> str:
    """A Python that has neither debugpy nor pip."""
    folder = tmp_path / "bare"
    command = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
    subprocess.run(command, check=True)
    return str(folder / "bin" / "python")


@pytest.fixture
def offline(tmp_path: Path) -> dict[str, str]:
    """An environment with a pip that has only a wheel of our own debugpy."""
    wheels, tools = tmp_path / "wheels", tmp_path / "tools"
    wheels.mkdir()
    tools.mkdir()
    ours = distribution("debugpy")
    with zipfile.ZipFile(wheels / f"debugpy-{ours.version}-py3-none-any.whl", "w") as w:
        for file in ours.files or ():
            path = Path(str(ours.locate_file(file)))
            if ".." not in file.parts and "__pycache__" not in file.parts:
                w.write(path, str(file))
    pip = Path(str(distribution("pip").locate_file("pip")))
    (tools / "pip").symlink_to(pip)
    return {
        "PYTHONPATH": str(tools),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_USER": "1",  # a setting of many; it does not go with a target folder
    }


class Place:
    """A project on the "VM", and what the launcher said there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder.parent / "cache"
        self.endpoints = folder.parent / "endpoints.json"

    def environment(self, **more: str) -> dict[str, str]:
        return {**os.environ, "XDG_CACHE_HOME": str(self.cache), **more}

    def launch(
        self, *arguments: str, python: str = sys.executable, **env: str
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [python, "-c", SOURCE, *arguments],
            cwd=self.folder,
            env=self.environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, *arguments: str, python: str = sys.executable, **env: str
    ) -> tuple[int, str, str]:
        process = self.launch(*arguments, python=python, **env)
        out, err = process.communicate(timeout=WAIT_S)
        return process.returncode, out, err

    def start(self, *target: str, **options: str) -> subprocess.Popen[str]:
        start = ("start", "0", str(self.endpoints), *target)
        return self.launch(*start, **{debugger.SPARING: SPARING, **options})

    def refused(self, *target: str, **options: str) -> tuple[int, str]:
        start = ("start", "0", str(self.endpoints))
        code, out, err = self.run(*start, *target, **options)
        assert out == ""
        return code, err

    def port(self, process: subprocess.Popen[str]) -> int:
        """Once debugpy waits there."""

        def look() -> int:
            with contextlib.suppress(OSError, ValueError):
                return int(json.loads(self.endpoints.read_text())["client"]["port"])
            assert process.poll() is None, process.communicate()
            return 0

        return wait_until(look)

    def configuration(self, port: int) -> dict[str, object]:
        return {
            "name": "test",
            "type": "debugpy",
            "request": "attach",
            "connect": {"host": "127.0.0.1", "port": port},
            "justMyCode": True,
            "subProcess": False,
        }


@pytest.fixture
def place(tmp_path: Path) -> Place:
    folder = tmp_path / "project"
    folder.mkdir()
    return Place(folder)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Callable[..., int]]:
    """`running(script)`: the pid of a Python program that runs."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*argv: str) -> int:
        ready = tmp_path / f"ready-{len(started)}"
        command = argv or (sys.executable, "-c", f"open({str(ready)!r}, 'w')\n{COUNT}")
        started.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        if not argv:
            wait_until(ready.exists)
        return started[-1].pid

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_until(look: Callable[[], int]) -> int:
    """For what another process does to a file: there is no event for it."""
    deadline = time.monotonic() + WAIT_S
    pause = threading.Event()
    while not (found := look()):
        assert time.monotonic() < deadline
        pause.wait(0.02)
    return found


def play(place: Place, process: subprocess.Popen[str]) -> tuple[str, int]:
    """Attaches, lets the program run, and tells what it printed and its exit code."""
    with DapClient(place.configuration(place.port(process))) as session:
        session.attach()
        session.wait_end()
        out, _ = process.communicate(timeout=WAIT_S)
    return out, process.returncode


def test_a_script_and_a_module_see_what_they_would_without(place: Place) -> None:
    text = "import sys; print(sys.argv[1:], sys.path[0], 'debugpy' in sys.path)\n"
    (place.folder / "pkg").mkdir()
    (place.folder / "pkg" / "tool.py").write_text(text)
    real = str(place.folder.resolve())
    process = place.start("pkg/tool.py", "-x", "a b")
    assert play(place, process) == (f"['-x', 'a b'] {real}/pkg False\n", 0)
    process = place.start("-m", "pkg.tool", "--", "1")
    out, code = play(place, process)
    assert (out.split()[:2], code) == (["['--',", "'1']"], 0)


def test_files_of_the_project_do_not_shadow_what_the_debugger_needs(
    place: Place,
) -> None:
    for name in ("json", "debugpy", "importlib", "tempfile", "socket"):
        (place.folder / f"{name}.py").write_text("raise SystemExit('shadowed')\n")
    (place.folder / "main.py").write_text("print('fine')\n")
    assert play(place, place.start("main.py")) == ("fine\n", 0)


def test_what_is_wrong_is_said_before_anybody_attaches(place: Place) -> None:
    (place.folder / "bad.py").write_text("x = 1\nif x\n    pass\n")
    code, said = place.refused("bad.py")
    assert code == 1
    assert 'bad.py", line 2' in said
    assert "SyntaxError" in said
    code, said = place.refused("none.py")
    assert (code, said) == (
        2,
        f"colab-devsync: no file {place.folder.resolve()}/none.py on the VM\n",
    )
    code, said = place.refused("-m", "no_such.module")
    assert (code, said) == (2, "colab-devsync: no module no_such on the VM\n")


KILLED = """\
import os, subprocess, sys, time
from colab_devsync.agent.debugger import watch_adapter
port, endpoints, adapter = sys.argv[1:]
os.environ["DEBUGPY_ADAPTER_ENDPOINTS"] = endpoints
watch_adapter(endpoints)
options = ["--for-server", port, "--host", "127.0.0.1", "--port", "0"]
subprocess.Popen([sys.executable, adapter, *options])
time.sleep(60)
"""


def adapters(place: Place) -> list[str]:
    """Processes that belong to these endpoints, but the program."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_its = str(place.endpoints).encode() in (path / "environ").read_bytes()
            if is_its and b"--for-server" in (path / "cmdline").read_bytes():
                found.append(path.name)
    return found


def test_no_adapter_waits_for_a_program_that_was_killed_too_soon(place: Place) -> None:
    adapter = str(distribution("debugpy").locate_file("debugpy/adapter"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(WAIT_S)
        port = str(server.getsockname()[1])
        command = [sys.executable, "-c", KILLED, port, str(place.endpoints), adapter]
        with subprocess.Popen(command) as program:
            server.accept()[0].close()  # it has said where it listens
            wait_until(place.endpoints.exists)
            assert adapters(place)
            program.kill()
    wait_until(lambda: not adapters(place))


# --- installing -----------------------------------------------------------------------


def test_debugpy_is_installed_once_and_in_private(
    place: Place, bare: str, offline: dict[str, str]
) -> None:
    seen = "import sys; print([p for p in sys.path if '/cache/' in p])"
    (place.folder / "main.py").write_text(f"{seen}\n")
    process = place.start("main.py", python=bare, **offline)
    assert play(place, process) == ("[]\n", 0)
    (folder,) = (place.cache / "colab-devsync").iterdir()
    assert folder.name == f"debugpy-{sys.version_info[0]}.{sys.version_info[1]}"
    assert {one.name.partition("-")[0] for one in folder.iterdir()} <= {
        "debugpy",
        "bin",
    }
    # The second time nothing is asked for: there is not even a pip.
    assert play(place, place.start("main.py", python=bare)) == ("[]\n", 0)


def test_two_at_once_install_it_whole(
    place: Place, bare: str, offline: dict[str, str]
) -> None:
    (place.folder / "main.py").write_text("print('fine')\n")
    other = Place(place.folder)
    other.endpoints = place.endpoints.with_name("other.json")
    both = [one.start("main.py", python=bare, **offline) for one in (place, other)]
    for one, process in zip((place, other), both, strict=True):
        assert play(one, process) == ("fine\n", 0)
    assert len(list((place.cache / "colab-devsync").iterdir())) == 1


def test_where_it_cannot_be_installed_pip_has_the_last_word(
    place: Place, bare: str, offline: dict[str, str]
) -> None:
    (place.folder / "main.py").write_text("")
    code, said = place.refused("main.py", python=bare)
    assert code == 2
    assert "debugpy cannot be installed on the VM" in said
    assert "No module named pip" in said
    shutil.rmtree(offline["PIP_FIND_LINKS"])
    code, said = place.refused("main.py", python=bare, **offline)
    assert code == 2
    assert "No matching distribution found for debugpy" in said
    assert list((place.cache / "colab-devsync").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(
    place: Place, bare: str, offline: dict[str, str]
) -> None:
    (place.folder / "main.py").write_text("")
    place.cache.write_text("a file")
    code, said = place.refused("main.py", python=bare, **offline)
    assert code == 2
    assert str(place.cache) in said


# --- programs that run already --------------------------------------------------------


def test_a_running_program_is_debugged_again_and_again(
    place: Place, running: Callable[..., int]
) -> None:
    pid = running()
    code, out, err = place.run("attach", str(pid))
    if expected := obstacle():
        assert (code, expected in err) == (2, True)
        os.kill(pid, 0)  # it was not harmed
        return
    assert code == 0, err
    port = json.loads(out)["port"]
    for _ in range(2):
        with DapClient(place.configuration(port)) as session:
            session.attach()
            thread = session.request("threads")["threads"][0]["id"]
            session.request("pause", {"threadId": thread})
            stop = session.wait_stop()
            assert session.evaluate(stop, "n > 0") == "True"
            session.disconnect()
    assert place.run("attach", str(pid))[1] == out  # the port is kept
    os.kill(pid, 0)


def test_what_cannot_be_attached_to_is_named(
    place: Place, running: Callable[..., int]
) -> None:
    code, _, said = place.run("attach", "99999999")
    assert (code, said) == (2, "colab-devsync: no process 99999999 on the VM\n")
    sleep = running("sleep", "60")
    code, _, said = place.run("attach", str(sleep))
    assert code == 2
    assert "is not a Python program but" in said


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="needs no gdb any more")
def test_without_gdb_it_is_said_what_to_install(
    place: Place, running: Callable[..., int]
) -> None:
    code, _, said = place.run("attach", str(running()), PATH=str(place.folder))
    assert code == 2
    assert said == "colab-devsync: attaching to a running program needs gdb on the VM\n"
