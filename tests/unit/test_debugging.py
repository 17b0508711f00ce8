"""What is made of a debugger's refusal, and how its runs are shown."""

from __future__ import annotations

import pytest

from colab_devsync.core.debugging import DebugRequest, DebugTarget, refusal
from colab_devsync.core.runs import RunInfo, RunKind
from colab_devsync.engine.programs.last_words import picked
from colab_devsync.engine.programs.launcher import launch


@pytest.mark.parametrize(
    ("why", "hint"),
    [
        ("debugpy cannot be installed on the VM: no network", "pip install debugpy"),
        ("attaching to a running program needs gdb on the VM", "install -y gdb"),
        ("the VM does not allow debugging process 7 (ptrace)", "ptrace_scope=0"),
        ("no process 7 on the VM", "colab-devsync runs"),
        ("no module nope on the VM", "ignored"),
        ("SyntaxError: invalid syntax", ""),
    ],
)
def test_a_refusal_names_the_reason_and_the_next_step(why: str, hint: str) -> None:
    message, found = refusal(why)
    assert message == f"The program cannot be debugged: {why}."
    assert hint in found
    assert bool(found) == bool(hint)


def test_our_own_words_win_over_what_others_print() -> None:
    said = "pip: hello\ncolab-devsync: installing\ncolab-devsync: no way.\nbye\n"
    assert picked(said) == "no way"
    assert picked("1\n2\n3\n4\n5\n") == "2\n3\n4\n5"
    assert picked(" \n") == ""


def run(kind: RunKind, argv: tuple[str, ...]) -> RunInfo:
    return RunInfo("x-1", kind, argv, "/content/x", "running")


def test_runs_are_shown_as_a_person_would_have_typed_them() -> None:
    words = ("start", "1", "{run_dir}/endpoints.json", "train.py", "-c", "x")
    debug = run("debug", launch("python3", "debugger", *words).argv)
    assert debug.command == ("python3", "train.py", "-c", "x")
    assert tuple(debug.as_json()["argv"]) == debug.command
    board = run("tensorboard", launch("python3", "board", "/content/x/runs").argv)
    assert board.command == ("tensorboard", "--logdir", "/content/x/runs")
    plain = run("run", ("python3", "-u", "train.py"))
    assert plain.command == plain.argv


def test_only_our_variable_carries_the_source() -> None:
    program = launch("~/bin/python", "debugger", "attach", "7")
    assert program.argv[0] == "~/bin/python"
    assert program.argv[3:] == ("attach", "7")
    ((name, source),) = program.env.items()
    assert name in program.argv[2]
    assert "def debugpy_folder" in source
    assert "{run_dir}" not in source  # the agent would replace it


def test_a_process_that_is_no_run_has_none_in_the_result() -> None:
    target = DebugTarget(5678, "/content/x", True, False, "x: process 7", "auto")
    body = target.as_json("/home/me/x")
    assert "run" not in body
    assert "waitSeconds" not in body
    assert body["configuration"]["subProcess"] is False
    assert DebugRequest(pid=7).is_attach
    assert not DebugRequest(file="train.py").is_attach
