"""Where runs failed: tracebacks on the VM become places in the project."""

from __future__ import annotations

import sys

import pytest

from colab_devsync.core.events import FailuresChanged
from colab_devsync.core.failures import Failure
from colab_devsync.core.runs import PortWait, RunInfo, RunSpec
from tests.support.project import Project
from tests.support.run_output import WAIT_S, RunOutput

FAILS = "def main():\n    raise ValueError({!r})\nmain()\n"


def start(project: Project, *args: str, **spec: object) -> RunInfo:
    fields = spec or {"file": "train.py"}
    spec_ = RunSpec(args=args, **fields)  # type: ignore[arg-type]
    return project.session.runs.start(spec_).result(WAIT_S)


def run(project: Project, *args: str, **spec: object) -> RunInfo:
    """To its end, listened to as front ends do."""
    info = start(project, *args, **spec)
    failures = project.session.failures
    attachment = project.session.runs.attach(
        info.id, failures.tap(info.id, RunOutput())
    )
    return attachment.ended.result(WAIT_S)


Place = tuple[str, int, str]


def wait_failures(project: Project, *wanted: Place) -> tuple[Failure, ...]:
    """Until these are told, in the end: a log comes in pieces."""

    def look() -> tuple[Failure, ...] | None:
        told = [one for one in project.log.events if isinstance(one, FailuresChanged)]
        found = told[-1].failures if told else None
        return found if found is not None and places(found) == list(wanted) else None

    project.wait(lambda: look() is not None, f"failures {wanted}")
    return look() or ()


def places(found: tuple[Failure, ...]) -> list[Place]:
    return [(one.path, one.line, one.message) for one in found]


def test_a_failure_is_told_and_cleared_by_the_next_run(project: Project) -> None:
    project.write("train.py", FAILS.format("zu groß"))
    assert run(project).exit_code == 1
    (found,) = wait_failures(project, ("train.py", 2, "ValueError: zu groß"))
    assert [(one.path, one.line) for one in found.related] == [("train.py", 3)]
    assert project.session.failures.shown == (found,)
    project.save("train.py", "print('well')\n")
    run(project)
    wait_failures(project)
    assert project.session.failures.shown == ()


def test_nobody_has_to_listen(project: Project) -> None:
    project.write("train.py", FAILS.format("alone"))
    start(project)
    wait_failures(project, ("train.py", 2, "ValueError: alone"))


def test_a_program_that_ends_before_its_port_is_there(project: Project) -> None:
    """As one does that is to be debugged and is no Python."""
    project.write("train.py", "def f(:\n")
    wait_port = PortWait(pattern="port (\\d+)", limit_s=60)
    starting = project.session.runs.start(RunSpec(file="train.py"), wait_port=wait_port)
    assert starting.result(WAIT_S).state == "exited"
    wait_failures(project, ("train.py", 1, "SyntaxError: invalid syntax"))


def test_the_end_of_a_long_log_that_nobody_read(project: Project) -> None:
    noise = "import sys\nfor n in range(40000): print('x' * 99, file=sys.stderr)\n"
    project.write("train.py", noise + FAILS.format("late"))
    info = start(project)
    wait_failures(project, ("train.py", 4, "ValueError: late"))
    assert info.state == "running"


def test_a_program_that_goes_on_after_a_failure(project: Project) -> None:
    project.write(
        "train.py",
        "import os, time, traceback\n"
        "def fail(): raise KeyError('x')\n"
        "try: fail()\nexcept KeyError: traceback.print_exc()\n"
        "while not os.path.exists('stop'): time.sleep(0.01)\n",
    )
    info = start(project)
    tap = project.session.failures.tap(info.id, RunOutput())
    attachment = project.session.runs.attach(info.id, tap)
    (found,) = wait_failures(project, ("train.py", 2, "KeyError: 'x'"))
    assert not attachment.ended.done()
    project.write_there("stop", "")
    assert attachment.ended.result(WAIT_S).exit_code == 0
    assert project.session.failures.shown == (found,)


def test_modules_chains_and_libraries(project: Project) -> None:
    project.write("pkg/__init__.py", "")
    project.write("pkg/data.py", "import json\ndef load():\n    json.loads('{')\n")
    project.write(
        "pkg/train.py",
        "from pkg.data import load\ntry:\n    load()\nexcept ValueError as exc:\n"
        "    raise RuntimeError('no data') from exc\n",
    )
    run(project, module="pkg.train")
    (found,) = wait_failures(project, ("pkg/train.py", 5, "RuntimeError: no data"))
    (before,) = found.related
    assert (before.path, before.line) == ("pkg/data.py", 3)
    assert "JSONDecodeError" in before.message


def test_a_root_behind_a_link_and_frames_from_another_folder(project: Project) -> None:
    link = project.vm.parent / "link"
    link.symlink_to(project.vm)
    project.configure(vm=link, more='[run]\ncwd = "sub"\n')
    project.write("sub/x.txt", "")
    project.write("train.py", FAILS.format("linked"))
    run(project)
    wait_failures(project, ("train.py", 2, "ValueError: linked"))
    project.log.clear()
    project.write("sub/here.py", FAILS.format("relative"))
    project.sync()
    run(project, argv=[sys.executable, "here.py"])
    wait_failures(project, ("sub/here.py", 2, "ValueError: relative"))


@pytest.mark.parametrize(
    "source",
    [
        "exec(compile('1/0', 'nowhere.py', 'exec'), {'__name__': 'x'})\n",
        "import sys\nprint(open('a.txt').read(), file=sys.stderr)\n",
    ],
)
def test_frames_that_are_not_files_of_ours(project: Project, source: str) -> None:
    project.write(
        "a.txt",
        'Traceback (most recent call last):\n  File "gone.py", line 1, in f\n    f()\n'
        "KeyError: 1\n",
    )
    project.write("train.py", source)
    info = run(project)
    if info.exit_code == 0:
        project.close()  # whatever is to be told has been told then
        told = [one for one in project.log.events if isinstance(one, FailuresChanged)]
        assert told == []
        return
    message = "ZeroDivisionError: division by zero\nraised at nowhere.py:1, in <module>"
    wait_failures(project, ("train.py", 1, message))
