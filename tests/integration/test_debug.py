"""Real debuggers on real debuggees: breakpoints of local files stop programs there."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from colab_devsync.core.debugging import DebugRequest, DebugTarget
from colab_devsync.core.runs import RunInfo, RunSpec
from colab_devsync.errors import RunError, UnknownRun
from tests.support.dap import DapClient, DapFailure
from tests.support.project import CONFIG, Project
from tests.support.proxy import ChaosProxy
from tests.support.remotes import Remote
from tests.support.run_output import RunOutput

START_S = 50.0

TRAIN = """\
import sys


def step(number):
    loss = 10 - number
    return loss * 2


def train(steps):
    total = 0
    for number in range(steps):
        total += step(number)
    return total


print("total", train(int(sys.argv[1])))
"""
TOTAL = 12  # the line that adds

LOOP = """\
import time

print("ready", flush=True)
go_on = True
count = 0
while go_on:
    count += 1
    time.sleep(0.02)
print("left the loop")
"""


class Debugging:
    """One project, and whoever debugs it."""

    def __init__(self, project: Project, stack: ExitStack) -> None:
        self.project = project
        self._stack = stack
        self.use()

    def use(
        self,
        *,
        python: str = sys.executable,
        more: str = "",
        remote: str = "",
        **link: Any,
    ) -> None:
        """Writes the configuration; `remote` are more lines of [remote]."""
        self.project.configure(more=more, **link)
        path = self.project.root / CONFIG
        cache = self.project.root.parent / "vm-cache"
        remote = remote or f'env = {{ XDG_CACHE_HOME = "{cache}" }}'
        head = f'[remote]\npython = "{python}"\n{remote}\n'
        path.write_text(path.read_text().replace("[remote]\n", head))

    def start(self, **request: Any) -> DebugTarget:
        starting = self.project.session.debugger.start(DebugRequest(**request))
        return starting.result(START_S)

    def client(self, target: DebugTarget) -> DapClient:
        """Not attached yet; dropped when the test ends."""
        configuration = target.configuration(str(self.project.root))
        return self._stack.enter_context(DapClient(configuration))

    def here(self, name: str) -> str:
        return str(self.project.root / name)

    def forwards(self) -> dict[str, int]:
        """Local ports by name; that of SSH is always there."""
        found = self.project.session.forwards.snapshot
        return {one.name: one.local_port for one in found if one.name != "ssh"}

    def ended(self, run: str | None) -> RunInfo:
        """How it ended, and `output` has what it printed."""
        self.output: dict[str, bytes] = {"stdout": b"", "stderr": b""}

        def heard(stream: str, offset: int, data: bytes) -> None:
            self.output[stream] += data

        assert run is not None
        attachment = self.project.session.runs.attach(run, heard)
        return attachment.ended.result(START_S)

    def fails(self, **request: Any) -> RunError:
        with pytest.raises(RunError) as caught:
            self.start(**request)
        return caught.value


@pytest.fixture
def debugging(project: Project) -> Iterator[Debugging]:
    project.write("train.py", TRAIN)
    project.write("loop.py", LOOP)
    with ExitStack() as stack:
        yield Debugging(project, stack)
        for path in project.vm.glob(".colab-devsync/runs/*/spec.json"):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(json.loads(path.read_text())["pid"], signal.SIGKILL)


def of_this_vm(project: Project) -> list[str]:
    """Command lines of processes that were started for runs of this VM."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            environment = (folder / "environ").read_bytes()
            if str(project.vm.resolve()).encode() in environment:
                found.append((folder / "cmdline").read_bytes().decode())
        except OSError:
            continue
    return [one for one in found if "debugpy" in one or "endpoints" in one]


# --- a session ------------------------------------------------------------------------


def test_a_breakpoint_of_the_local_file_stops_the_program(
    debugging: Debugging,
) -> None:
    target = debugging.start(file="train.py", args=["3"])
    client = debugging.client(target)
    (verified,) = client.attach({debugging.here("train.py"): [TOTAL]})
    assert verified["verified"]
    stop = client.wait_stop()
    place = (stop.path, stop.line, stop.function, stop.reason)
    assert place == (debugging.here("train.py"), TOTAL, "train", "breakpoint")
    assert client.locals(stop) == {"number": "0", "steps": "3", "total": "0"}
    assert client.evaluate(stop, "total + steps") == "3"
    client.evaluate(stop, "total = 100")
    stop = client.step(stop, "stepIn")
    assert (stop.function, stop.reason) == ("step", "step")
    stop = client.step(stop)
    assert client.locals(stop)["loss"] == "10"
    stop = client.step(stop, "stepOut")
    assert stop.function == "train"
    client.set_breakpoints({debugging.here("train.py"): []})
    client.resume(stop)
    client.wait_end()
    assert client.output() == "total 154\n"
    run = debugging.ended(target.run)
    assert (run.kind, run.exit_code) == ("debug", 0)
    assert debugging.output["stdout"] == b"total 154\n"


def test_what_was_saved_last_is_what_is_debugged(debugging: Debugging) -> None:
    debugging.project.sync()
    debugging.project.save("train.py", "x = 1\nprint('new')\n")
    target = debugging.start(file="train.py")
    client = debugging.client(target)
    client.attach({debugging.here("train.py"): [2]})
    stop = client.wait_stop()
    assert stop.line == 2
    client.resume(stop)
    client.wait_end()
    assert client.output() == "new\n"


def test_the_configured_program_is_debugged_without_a_name(
    debugging: Debugging,
) -> None:
    debugging.project.write(
        "pkg/tool.py", "import sys\nprint(__name__, sys.argv[1:])\n"
    )
    debugging.use(more='[run]\nmodule = "pkg.tool"\nargs = ["--epochs", "1"]\n')
    target = debugging.start()
    client = debugging.client(target)
    client.attach({debugging.here("pkg/tool.py"): [2]})
    stop = client.wait_stop()
    assert stop.path == debugging.here("pkg/tool.py")
    client.resume(stop)
    client.wait_end()
    assert client.output() == "__main__ ['--epochs', '1']\n"


def test_the_result_has_all_that_an_editor_needs(debugging: Debugging) -> None:
    target = debugging.start(file="train.py", args=["1"])
    root = str(debugging.project.vm.resolve())
    body = target.as_json("C:\\work\\segmentation")
    mappings = [{"localRoot": "C:\\work\\segmentation", "remoteRoot": root}]
    connect = {"host": "127.0.0.1", "port": target.port}
    configuration = body.pop("configuration")
    assert body == {
        "run": "train-1",
        "connect": connect,
        "pathMappings": mappings,
        "justMyCode": True,
        "subProcess": True,
        "prefer": "auto",
        "waitSeconds": 60.0,
    }
    assert configuration == {
        "name": "project: train-1",
        "type": "debugpy",
        "request": "attach",
        "connect": connect,
        "pathMappings": mappings,
        "justMyCode": True,
        "subProcess": True,
        "redirectOutput": True,
        "showReturnValue": True,
        "clientOS": "windows" if sys.platform == "win32" else "unix",
    }
    assert debugging.forwards() == {"train-1": target.port}


def test_an_exception_stops_where_it_is_raised(debugging: Debugging) -> None:
    target = debugging.start(file="train.py", args=["three"])
    client = debugging.client(target)
    client.attach({}, exceptions=["uncaught"])
    stop = client.wait_stop()
    assert (stop.reason, stop.line) == ("exception", 16)
    about = client.request("exceptionInfo", {"threadId": stop.thread})
    assert about["exceptionId"] == "ValueError"
    client.resume(stop)
    client.wait_end()
    assert debugging.ended(target.run).exit_code == 1
    assert b"ValueError" in debugging.output["stderr"]


# --- child processes ------------------------------------------------------------------

POOL = """\
import multiprocessing
import subprocess
import sys


def work(number):
    square = number * number
    return square


if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(work, [7]))
    print(subprocess.check_output([sys.executable, "child.py"]).decode())
"""


def test_child_processes_come_through_the_same_port(debugging: Debugging) -> None:
    debugging.project.write("pool.py", POOL)
    debugging.project.write("child.py", "word = 'grown'\nprint(word)\n")
    target = debugging.start(file="pool.py")
    marks = {debugging.here("pool.py"): [8], debugging.here("child.py"): [2]}
    client = debugging.client(target)
    client.attach(marks)
    seen = {}

    def follow(number: int) -> None:
        child = client.wait_child(number)
        assert child.arguments["connect"] == {"host": "127.0.0.1", "port": target.port}
        child.attach(marks)
        stop = child.wait_stop_or_end()
        if stop is not None:
            seen[stop.line, stop.path] = child.locals(stop)
            child.resume(stop)

    with ThreadPoolExecutor() as pool:  # multiprocessing has a helper process, too
        list(pool.map(follow, range(3)))
    worker, other = (8, debugging.here("pool.py")), (2, debugging.here("child.py"))
    assert seen.keys() == {worker, other}
    assert seen[worker] == {"number": "7", "square": "49"}
    assert seen[other]["word"] == "'grown'"
    client.wait_end()
    assert debugging.ended(target.run).exit_code == 0
    assert b"[49]" in debugging.output["stdout"]
    assert b"grown" in debugging.output["stdout"]


def test_without_subprocesses_children_are_left_alone(debugging: Debugging) -> None:
    debugging.use(more="[debug]\nsubprocesses = false\njust_my_code = false\n")
    debugging.project.write("pool.py", POOL)
    debugging.project.write("child.py", "print('grown')\n")
    target = debugging.start(file="pool.py")
    assert not target.configuration("/")["justMyCode"]
    client = debugging.client(target)
    client.attach({debugging.here("child.py"): [1]})
    client.wait_end()
    assert client.children == []
    assert debugging.ended(target.run).exit_code == 0


FORKS = """\
import multiprocessing


def work(number):
    square = number * number
    return square


if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(1) as pool:
        print(pool.map(work, [7]), work(8))
"""


def test_forked_workers_that_are_left_alone_do_not_stop(debugging: Debugging) -> None:
    debugging.use(more="[debug]\nsubprocesses = false\n")
    debugging.project.write("forks.py", FORKS)
    target = debugging.start(file="forks.py")
    client = debugging.client(target)
    client.attach({debugging.here("forks.py"): [6]})
    stop = client.wait_stop()  # the program's own
    assert client.locals(stop)["number"] == "8"
    client.resume(stop)
    client.wait_end()
    assert debugging.ended(target.run).exit_code == 0
    assert debugging.output["stdout"] == b"[49] 64\n"


# --- the link -------------------------------------------------------------------------


def test_a_dropped_tunnel_keeps_the_debuggee(
    debugging: Debugging, proxy: ChaosProxy
) -> None:
    debugging.use(port=proxy.port)
    project = debugging.project
    target = debugging.start(file="loop.py")
    marks = {debugging.here("loop.py"): [7]}
    client = debugging.client(target)
    client.attach(marks)
    count = int(client.evaluate(client.wait_stop(), "count"))
    project.log.clear()
    proxy.reset_all()
    with pytest.raises(DapFailure):
        client.send("threads").result(START_S)
    project.wait_was("lost")
    project.wait_link("online")
    again = debugging.client(target)  # the same port
    again.attach(marks)
    stop = again.wait_stop()
    assert int(again.evaluate(stop, "count")) > count  # it went on meanwhile
    again.evaluate(stop, "go_on = False")
    again.set_breakpoints({debugging.here("loop.py"): []})
    again.resume(stop)
    again.wait_end()
    run = debugging.ended(target.run)
    assert (run.state, run.exit_code) == ("exited", 0)
    assert debugging.output["stdout"] == b"ready\nleft the loop\n"


@pytest.mark.openssh  # all connections of the sandbox are in one process
def test_a_tunnel_that_fell_silent_does_not_keep_the_debugger(
    debugging: Debugging, remote: Remote, make_proxy: Callable[..., ChaosProxy]
) -> None:
    """Its SSH session lives on there, and with it what was attached."""
    old, new = make_proxy(remote.login.port), make_proxy(remote.login.port)
    debugging.use(port=old.port)
    target = debugging.start(file="loop.py")
    client = debugging.client(target)
    client.attach({debugging.here("loop.py"): [7]})
    client.wait_stop()
    old.freeze()
    debugging.use(port=new.port)
    debugging.project.log.clear()
    debugging.project.session.config_changed()
    debugging.project.wait_was("connecting")
    debugging.project.wait_link("online")
    client.drop()
    again = debugging.client(target)
    again.attach({debugging.here("loop.py"): [7]})
    stop = again.wait_stop()
    again.evaluate(stop, "go_on = False")
    again.set_breakpoints({debugging.here("loop.py"): []})
    again.resume(stop)
    again.wait_end()
    assert debugging.ended(target.run).exit_code == 0


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("count", [1, 200, 500])
def test_a_link_cut_in_the_middle_of_the_start(
    debugging: Debugging, proxy: ChaosProxy, direction: Any, count: int
) -> None:
    debugging.use(port=proxy.port)
    debugging.project.sync()
    proxy.cut_after(direction, count)
    target = debugging.start(file="train.py", args=["1"])
    client = debugging.client(target)
    client.attach({debugging.here("train.py"): [TOTAL]})
    stop = client.wait_stop()
    client.resume(stop)
    client.wait_end()
    runs = debugging.project.session.runs.list().result(START_S)
    assert len(runs) == 1  # started once; an agent that was cut off may have begun to


def test_nobody_attaches_and_nothing_is_left(debugging: Debugging) -> None:
    target = debugging.start(file="train.py", args=["1"], wait_s=1.5)
    run = debugging.ended(target.run)
    assert run.state == "exited"
    assert run.message is not None
    assert "no debugger attached within 1.5 s" in run.message
    assert b"no debugger attached within 1.5 s" in debugging.output["stderr"]
    project = debugging.project
    project.wait(lambda: debugging.forwards() == {}, "the forward is closed")
    wait_gone(project)


def wait_gone(project: Project) -> None:
    pause = threading.Event()
    deadline = time.monotonic() + START_S
    while left := of_this_vm(project):
        assert time.monotonic() < deadline, left
        pause.wait(0.02)


def test_a_client_that_only_left_ends_nothing(debugging: Debugging) -> None:
    target = debugging.start(file="train.py", args=["2"])
    client = debugging.client(target)
    client.attach({debugging.here("train.py"): [TOTAL]})
    client.wait_stop()
    client.disconnect()
    run = debugging.ended(target.run)
    assert (run.exit_code, debugging.output["stdout"]) == (0, b"total 38\n")


def test_stopping_the_run_ends_the_debugger(debugging: Debugging) -> None:
    target = debugging.start(file="train.py", args=["2"])
    client = debugging.client(target)
    client.attach({debugging.here("train.py"): [TOTAL]})
    client.wait_stop()
    assert target.run is not None
    debugging.project.session.runs.stop(target.run, kill=True).result(START_S)
    client.wait_event("terminated")
    client.drop()
    assert debugging.ended(target.run).signal == "SIGKILL"
    wait_gone(debugging.project)


def test_a_debuggee_killed_while_it_begins_leaves_nothing(
    debugging: Debugging,
) -> None:
    """debugpy's adapter would wait for ever for a program that never called it."""
    for _ in range(3):
        target = debugging.start(file="train.py", args=["2"])
        assert target.run is not None
        debugging.project.session.runs.stop(target.run, kill=True).result(START_S)
    wait_gone(debugging.project)


# --- programs that run already --------------------------------------------------------


@pytest.fixture
def looping(debugging: Debugging) -> RunInfo:
    """A run of loop.py that is in its loop."""
    session = debugging.project.session
    starting = session.runs.start(RunSpec(file="loop.py"))
    run = starting.result(START_S)
    output = RunOutput()
    attachment = session.runs.attach(run.id, output)
    output.wait_for(b"ready\n", START_S)
    attachment.close()
    return run


@pytest.mark.parametrize("by", ["run", "pid"])
def test_a_running_run_is_debugged(
    debugging: Debugging, looping: RunInfo, by: str
) -> None:
    """Without gdb: what `run` starts has a hook for that."""
    request = {"run": looping.id} if by == "run" else {"pid": looping.pid}
    target = debugging.start(**request)
    assert target.wait_s is None
    client = debugging.client(target)
    client.attach({debugging.here("loop.py"): [7]})
    stop = client.wait_stop()
    assert (stop.path, stop.line) == (debugging.here("loop.py"), 7)
    client.disconnect()
    again = debugging.start(**request)
    assert again.port == target.port
    client = debugging.client(again)
    client.attach({debugging.here("loop.py"): [7]})
    stop = client.wait_stop()
    client.evaluate(stop, "go_on = False")
    client.set_breakpoints({debugging.here("loop.py"): []})
    client.resume(stop)
    client.wait_end()
    assert debugging.ended(looping.id).exit_code == 0
    assert debugging.output == {"stdout": b"ready\nleft the loop\n", "stderr": b""}
    wait_gone(debugging.project)


def test_a_dropped_tunnel_keeps_a_run_that_was_attached_to(
    debugging: Debugging, proxy: ChaosProxy, request: pytest.FixtureRequest
) -> None:
    debugging.use(port=proxy.port)
    run = request.getfixturevalue("looping").id
    marks = {debugging.here("loop.py"): [7]}
    target = debugging.start(run=run)
    client = debugging.client(target)
    client.attach(marks)
    count = int(client.evaluate(client.wait_stop(), "count"))
    debugging.project.log.clear()
    proxy.reset_all()
    debugging.project.wait_was("lost")
    debugging.project.wait_link("online")
    client.drop()
    assert debugging.start(run=run).port == target.port
    again = debugging.client(target)
    again.attach(marks)
    stop = again.wait_stop()
    assert int(again.evaluate(stop, "count")) > count  # it went on meanwhile
    again.evaluate(stop, "go_on = False")
    again.set_breakpoints({debugging.here("loop.py"): []})
    again.resume(stop)
    again.wait_end()
    assert debugging.ended(run).exit_code == 0


def test_a_run_under_the_debugger_keeps_its_port(debugging: Debugging) -> None:
    target = debugging.start(file="train.py", args=["1"])
    assert debugging.start(run=target.run).port == target.port
    debugging.client(target).attach()
    debugging.ended(target.run)
    assert "has ended" in debugging.fails(run=target.run).message


def test_what_cannot_be_attached_to(debugging: Debugging) -> None:
    with pytest.raises(UnknownRun, match="no run nothing-7 on the VM"):
        debugging.start(run="nothing-7")
    error = debugging.fails(pid=99999999)
    assert "no process 99999999 on the VM" in error.message
    assert error.hint


# --- bad input ------------------------------------------------------------------------


def test_what_is_wrong_is_said_at_once(debugging: Debugging) -> None:
    debugging.project.write("bad.py", "if x\n")
    assert "no file" in debugging.fails(file="none.py").message
    error = debugging.fails(file="bad.py")
    assert 'bad.py", line 1' in error.message
    assert "SyntaxError" in error.message
    assert "no module nope on the VM" in debugging.fails(module="nope.x").message
    error = debugging.fails()
    assert "nothing to run" in error.message
    assert error.hint


def test_debugpy_that_cannot_be_installed(debugging: Debugging, tmp_path: Path) -> None:
    os.symlink(sys._base_executable, tmp_path / "python3")  # type: ignore[attr-defined]
    debugging.use(
        python=str(tmp_path / "python3"),
        remote=f'env = {{ XDG_CACHE_HOME = "{tmp_path}/cache", PIP_NO_INDEX = "1" }}',
    )
    error = debugging.fails(file="train.py")
    assert "debugpy cannot be installed on the VM" in error.message
    assert "pip install debugpy" in error.hint


def test_a_start_that_nobody_wants_any_more(debugging: Debugging) -> None:
    cancel = threading.Event()
    cancel.set()
    session = debugging.project.session
    starting = session.debugger.start(DebugRequest(file="train.py"), cancel=cancel)
    with pytest.raises(BaseException) as caught:
        starting.result(START_S)
    assert type(caught.value).__name__ in ("CancelledError", "LinkLost")
    runs = session.runs.list().result(START_S)
    assert all(run.state != "running" or run.id for run in runs)
