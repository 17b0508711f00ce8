"""Debuggers come into runs by a hook, which programs do not notice."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from colab_devsync.agent import debugger, letting_in, sparing
from tests.agent.driver import Driven
from tests.agent.test_agent_runs import Client, folder, run
from tests.support.dap import DapClient, Stop
from tests.support.run_output import end_runs

ASKS = Path(debugger.__file__).read_text(encoding="utf-8")
SOURCE = "".join(
    Path(one.__file__).read_text(encoding="utf-8") for one in (sparing, letting_in)
)
WAIT_S = 90.0

# What a program can see of how it was started.
LOOK = """\
import json, os, sys
own = {name: value for name, value in os.environ.items() if "runs" not in value}
seen = [sys.path, sorted(sys.modules), own, sorted(sys.path_importer_cache)]
print(json.dumps(seen, indent=1))
"""

# Two threads, each with a loop that goes on until a file says so.
LOOPS = """\
import os
import threading
import time


def other():
    there = 0
    while not os.path.exists("go"):
        there += 1
        time.sleep(0.01)


thread = threading.Thread(target=other)
thread.start()
here = 0
print("ready", flush=True)
while not os.path.exists("go"):
    here += 1
    time.sleep(0.01)
thread.join()
print("end", threading.active_count() > 0)
"""
OTHER, HERE = 9, 18  # the lines that count


pytestmark = pytest.mark.timeout(150)


@pytest.fixture(autouse=True)
def nothing_left(root: Path) -> Iterator[None]:
    """Ends what a failed test left running, with its debugger."""
    yield
    end_runs(root)


class Door:
    """Lets debuggers into the runs of one VM."""

    def __init__(self, root: Path, python: str) -> None:
        self.root = root
        self.python = python
        self.cache = root.parent / "cache"
        version = subprocess.check_output(
            [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        )
        private = self.cache / "colab-devsync" / f"debugpy-{version.decode().strip()}"
        private.mkdir(parents=True)
        ours = distribution("debugpy").locate_file("debugpy")
        (private / "debugpy").symlink_to(str(ours))  # nothing is fetched

    def knock(self, pid: int, source: str = SOURCE) -> subprocess.Popen[str]:
        runs = str(self.root / ".colab-devsync" / "runs")
        more = {debugger.LETTING_IN: source, "XDG_CACHE_HOME": str(self.cache)}
        return subprocess.Popen(
            [self.python, "-c", ASKS, "attach", str(pid), runs],
            env={**os.environ, **more, "PATH": "/nowhere"},  # there is no gdb
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def port(self, pid: int) -> int:
        out, err = self.knock(pid).communicate(timeout=WAIT_S)
        assert out, err
        return int(json.loads(out)["port"])

    def refusal(self, pid: int, source: str = SOURCE) -> str:
        process = self.knock(pid, source)
        out, err = process.communicate(timeout=WAIT_S)
        assert (process.returncode, out) == (2, "")
        return err

    def client(self, port: int) -> DapClient:
        return DapClient(
            {
                "name": "test",
                "type": "debugpy",
                "request": "attach",
                "connect": {"host": "127.0.0.1", "port": port},
                "justMyCode": True,
                "subProcess": True,
            }
        )


@pytest.fixture
def door(root: Path, python: str) -> Door:
    return Door(root, python)


@pytest.fixture
def program(agent: Driven, root: Path) -> Callable[..., tuple[Client, str]]:
    """`program(source)`: a run of it, and its path."""

    def start(source: str, name: str = "main.py", **fields: Any) -> tuple[Client, str]:
        path = root / name
        path.write_text(source)
        python = fields.pop("python")
        argv = [python, "-u", *fields.pop("options", []), str(path)]
        return run(agent, *argv, hook=True, **fields), str(path)

    return start


Program = Callable[..., tuple[Client, str]]


# --- the program does not notice ------------------------------------------------------


@pytest.mark.parametrize("has_own", [False, True], ids=["plain", "sitecustomize"])
def test_a_program_sees_nothing_of_it(
    agent: Driven, root: Path, python: str, has_own: bool
) -> None:
    (root / "look.py").write_text(LOOK)
    env = {}
    if has_own:
        (root / "own").mkdir()
        (root / "own" / "sitecustomize.py").write_text("import colorsys\n1 / 0\n")
        env["PYTHONPATH"] = f"{root / 'own'}:relative"
    argv = [python, "-u", str(root / "look.py")]
    seen = []
    for hook in (False, True):
        with run(agent, *argv, hook=hook, env=env) as client:
            info, out, err = client.finish()
            assert info["code"] == 0
            seen.append((json.loads(out), err))
            record = folder(root, client.run["run"]) / "hook"
            assert record.exists() == hook
    assert seen[0] == seen[1]
    assert ("colorsys" in seen[1][0][1], b"ZeroDivisionError" in seen[1][1]) == (
        has_own,
        has_own,
    )


@pytest.mark.few
def test_where_it_cannot_be_nothing_is_harmed(
    door: Door, program: Program, python: str
) -> None:
    for options in (["-I"], ["-S"], ["-E"]):
        client, _ = program(LOOPS, python=python, options=options)
        with client:
            client.wait_for(b"ready")
            assert "was started without our hook" in door.refusal(client.run["pid"])
            (door.root / "go").touch()
            assert client.finish()[0]["code"] == 0
        (door.root / "go").unlink()


# --- coming in ------------------------------------------------------------------------


def stops_at(client: DapClient, path: str, line: int) -> Stop:
    client.set_breakpoints({path: [line]})
    stop = client.wait_stop()
    assert (stop.path, stop.line) == (path, line)
    client.set_breakpoints({path: []})
    return stop


@pytest.mark.debugpy
def test_a_run_is_debugged_again_and_again_and_goes_on(
    door: Door, program: Program, python: str
) -> None:
    client, path = program(LOOPS, python=python)
    with client:
        client.wait_for(b"ready")
        both = [door.knock(client.run["pid"]) for _ in range(2)]
        said = {one.communicate(timeout=WAIT_S) for one in both}
        assert len(said) == 1, said  # the same for who asks at the same time
        port = json.loads(said.pop()[0])["port"]
        counts = []
        for _ in range(2):
            with door.client(port) as session:
                session.attach()
                stop = stops_at(session, path, HERE)
                counts.append(int(session.evaluate(stop, "here")))
                session.resume(stop)
                stop = stops_at(session, path, OTHER)
                assert int(session.locals(stop)["there"]) > 0
                session.disconnect()
            assert door.port(client.run["pid"]) == port
        assert counts[1] > counts[0]
        (door.root / "go").touch()
        info, out, err = client.finish()
    assert (info["code"], out, err) == (0, b"ready\nend True\n", b"")
    inside = set(os.listdir(folder(door.root, client.run["run"])))
    assert not inside & {"hook.py", "hook.py.part", "hook.py.taken", "hook.json.part"}
    wait_until(lambda: not adapters(door.root))


@pytest.mark.few
@pytest.mark.debugpy
def test_python_may_be_a_script_that_starts_python(
    door: Door, agent: Driven, python: str
) -> None:
    path, script = door.root / "main.py", door.root / "python"
    path.write_text(LOOPS)
    script.write_text(f'#!/bin/sh\n"{python}" "$@"\nexit 3\n')
    script.chmod(0o755)
    with run(agent, str(script), "-u", str(path), hook=True) as client:
        client.wait_for(b"ready")
        with door.client(door.port(client.run["pid"])) as session:
            session.attach()
            session.resume(stops_at(session, str(path), HERE))
            session.disconnect()
        (door.root / "go").touch()
        assert client.finish()[0]["code"] == 3


def adapters(root: Path) -> list[bytes]:
    """debugpy's processes for runs of this VM."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(root).encode() in (path / "environ").read_bytes():
                found.append((path / "cmdline").read_bytes())
    return [one for one in found if b"--for-server" in one]


def wait_until(look: Callable[[], Any]) -> None:
    """For what another process does: there is no event for it."""
    deadline = time.monotonic() + WAIT_S
    pause = threading.Event()
    while not look():
        assert time.monotonic() < deadline
        pause.wait(0.02)


FORKS = """\
import multiprocessing, os, time


def work(number):
    square = number * number
    return square


if __name__ == "__main__":
    print("ready", flush=True)
    while not os.path.exists("go"):
        time.sleep(0.01)
    pool = multiprocessing.get_context("fork").Pool(2)
    print(pool.map(work, [2, 3]), work(4))
    pool.close()
    pool.join()
"""
SQUARED = 6  # the line


@pytest.mark.few
@pytest.mark.debugpy
def test_children_that_the_program_forks_are_not_held_up(
    door: Door, program: Program, python: str
) -> None:
    client, path = program(FORKS, python=python)
    with client:
        client.wait_for(b"ready")
        with door.client(door.port(client.run["pid"])) as session:
            session.attach({path: [SQUARED]})
            (door.root / "go").touch()
            stop = session.wait_stop()  # the program's own
            assert session.locals(stop)["number"] == "4"
            session.resume(stop)
            session.wait_end()
        info, out, _ = client.finish()
    assert (info["code"], out) == (0, b"ready\n[4, 9] 16\n")


# --- not coming in --------------------------------------------------------------------

TAKES = """\
import os, signal, time
signal.signal(signal.SIGRTMIN + 7, lambda number, frame: print("mine", flush=True))
print("ready", flush=True)
while not os.path.exists("go"):
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGRTMIN + 7)
"""

REPLACED = """\
import os, sys
if "again" not in sys.argv:
    os.execv(sys.executable, [sys.executable, __file__, "again"])
import time
print("ready", "PYTHONPATH" in os.environ, flush=True)
while not os.path.exists("go"):
    time.sleep(0.01)
"""


@pytest.mark.few
@pytest.mark.parametrize(
    ("source", "words", "printed"),
    [
        (TAKES, "handles the signal by which we ask to come in itself", b"mine\n"),
        (REPLACED, "it has replaced itself", b" False\n"),
    ],
    ids=["takes", "replaced"],
)
def test_a_program_without_our_handler_gets_no_signal(
    door: Door, program: Program, python: str, source: str, words: str, printed: bytes
) -> None:
    client, _ = program(source, python=python)
    with client:
        client.wait_for(b"ready")
        said = door.refusal(client.run["pid"])
        assert words in said
        assert "needs gdb" in said
        (door.root / "go").touch()
        info, out, err = client.finish()
    assert (info["code"], err) == (0, b"")
    assert out.endswith(printed)
    assert out.count(b"mine") == printed.count(b"mine")


BUSY = """\
import os, time
from itertools import repeat
print("ready", flush=True)
any(map(os.access, repeat("go"), repeat(os.F_OK)))  # not one step of Python's own
print("back", flush=True)
done = False
while not done:
    time.sleep(0.01)
"""
WAITS = 7  # the line


@pytest.mark.few
@pytest.mark.debugpy
def test_a_program_in_one_long_call_is_left_alone(
    door: Door, program: Program, python: str
) -> None:
    client, path = program(BUSY, python=python)
    short = SOURCE.replace("_TAKE_S = 15.0", "_TAKE_S = 0.3")
    assert short != SOURCE
    with client:
        client.wait_for(b"ready")
        said = door.refusal(client.run["pid"], short)
        assert "its main thread is in one long call" in said
        inside = folder(door.root, client.run["run"])
        assert not {"hook.py", "hook.json"} & set(os.listdir(inside))
        (door.root / "go").touch()
        client.wait_for(b"back")  # what was asked too late has no effect
        assert not adapters(door.root)
        with door.client(door.port(client.run["pid"])) as session:
            session.attach()
            stop = stops_at(session, path, WAITS)
            session.evaluate(stop, "done = True")
            session.resume(stop)
            session.wait_end()
        info, out, err = client.finish()
    assert (info["code"], out, err) == (0, b"ready\nback\n", b"")


BIRTH = """\
import os, signal, time
child = os.fork()
if not child:
    os.kill(os.getpid(), signal.SIGRTMIN + 7)
    os._exit(7)
print(os.waitpid(child, 0)[1] >> 8, flush=True)
"""


@pytest.mark.few
def test_the_signal_harms_no_child(program: Program, python: str) -> None:
    client, _ = program(BIRTH, python=python)
    with client:
        info, out, err = client.finish()
    assert (info["code"], out, err) == (0, b"7\n", b"")
