"""Programs in the foreground on the VM."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence

import pytest

from colab_devsync.engine.programs.process import ExecSpec, RemoteProcess
from colab_devsync.errors import LinkLost, RunError
from tests.support.project import Project
from tests.support.proxy import ChaosProxy


class Output:
    """What a program printed, by stream; can be waited on."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.streams = {"stdout": b"", "stderr": b""}

    def __call__(self, stream: str, data: bytes) -> None:
        with self._changed:
            self.streams[stream] += data
            self._changed.notify_all()

    def wait_for(self, text: bytes, timeout_s: float = 60) -> None:
        with self._changed:
            assert self._changed.wait_for(
                lambda: text in self.streams["stdout"], timeout_s
            ), self.streams


def start(
    project: Project,
    *argv: str,
    on_output: Output,
    cwd: str = ".",
    env: Mapping[str, str] | None = None,
) -> RemoteProcess:
    return project.session.exec(ExecSpec(argv, cwd, env), on_output).result(30)


def run(
    project: Project, argv: Sequence[str], **options: object
) -> tuple[int, bytes, bytes]:
    output = Output()
    process = start(project, *argv, on_output=output, **options)  # type: ignore[arg-type]
    process.close_stdin()
    code = process.exit_code.result(30)
    return code, output.streams["stdout"], output.streams["stderr"]


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


def test_the_exit_code_and_both_streams_apart(project: Project) -> None:
    code, out, err = run(project, sh("echo out; echo err >&2; exit 7"))
    assert (code, out, err) == (7, b"out\n", b"err\n")


def test_a_program_sees_what_was_saved_before_it(project: Project) -> None:
    project.write("train.py", "print('old')\n")
    project.sync()
    project.save("train.py", "print('new')\n")
    code, out, _ = run(project, ["python3", "train.py"])
    assert (code, out) == (0, b"new\n")


def test_arguments_are_not_touched_by_a_shell(project: Project) -> None:
    argv = ["printf", "%s|", "a b", "$HOME", "*", "'\"", ""]
    assert run(project, argv)[1] == b"a b|$HOME|*|'\"||"


def test_input(project: Project) -> None:
    output = Output()
    process = start(project, "cat", on_output=output)
    process.write_stdin(b"one\n")
    output.wait_for(b"one\n")
    process.write_stdin(b"two\n" * 100_000)
    process.close_stdin()
    assert process.exit_code.result(30) == 0
    assert output.streams["stdout"] == b"one\n" + b"two\n" * 100_000


def test_a_signal(project: Project) -> None:
    output = Output()
    script = "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.05; done"
    process = start(project, *sh(script), on_output=output)
    output.wait_for(b"ready")
    process.signal("INT")
    assert process.exit_code.result(30) == 3
    output.wait_for(b"caught")


def test_a_killed_program_has_128_and_the_signal(project: Project) -> None:
    output = Output()
    process = start(project, *sh("echo ready; exec sleep 60"), on_output=output)
    output.wait_for(b"ready")
    process.signal("KILL")
    assert process.exit_code.result(30) == 137


def test_a_missing_command(project: Project) -> None:
    with pytest.raises(RunError, match="no command no-such-thing on the VM") as caught:
        run(project, ["no-such-thing"])
    assert caught.value.hint


def test_a_missing_folder(project: Project) -> None:
    with pytest.raises(RunError, match=r"no folder .*nowhere on the VM") as caught:
        run(project, ["true"], cwd="nowhere")
    assert caught.value.hint


def test_folder_and_environment(project: Project) -> None:
    project.write("pkg/x.py", "x\n")
    project.sync()
    script = 'pwd; echo "$WHO"'
    _, out, _ = run(project, sh(script), cwd="pkg", env={"WHO": "a b"})
    assert out.decode().splitlines() == [str((project.vm / "pkg").resolve()), "a b"]


def test_a_lost_link_ends_it_here_and_there(
    project: Project, proxy: ChaosProxy
) -> None:
    project.configure(port=proxy.port)
    output = Output()
    flag = project.vm / "ended"
    script = f"trap 'echo x > {flag}; exit' HUP TERM; echo ready; sleep 60 & wait"
    process = start(project, *sh(script), on_output=output)
    output.wait_for(b"ready")
    proxy.reset_all()
    with pytest.raises(LinkLost):
        process.exit_code.result(30)
    project.wait_link("online")
    project.wait(flag.exists, "the program ended there")


def test_fifty_megabytes_come_through(project: Project) -> None:
    digest = hashlib.sha256()
    size = 0

    def count(stream: str, data: bytes) -> None:
        nonlocal size
        size += len(data)
        digest.update(data)

    argv = sh("yes 0123456789 | head -c 50000000")
    process = project.session.exec(ExecSpec(argv), count).result(30)
    assert process.exit_code.result(150) == 0
    wanted = (b"0123456789\n" * 4_545_455)[:50_000_000]
    assert size == 50_000_000
    assert digest.digest() == hashlib.sha256(wanted).digest()


def test_several_at_once(project: Project) -> None:
    outputs = [Output() for _ in range(12)]
    processes = [
        start(project, *sh(f"read x; echo {number} $x"), on_output=output)
        for number, output in enumerate(outputs)
    ]
    for process in processes:
        process.write_stdin(b"in\n")
    assert [process.exit_code.result(30) for process in processes] == [0] * 12
    for number, output in enumerate(outputs):
        assert output.streams["stdout"] == b"%d in\n" % number


def test_closing_ends_the_program(project: Project) -> None:
    output = Output()
    flag = project.vm / "ended"
    project.connect()
    script = f"trap 'echo x > {flag}; exit' HUP TERM; echo ready; sleep 60 & wait"
    process = start(project, *sh(script), on_output=output)
    output.wait_for(b"ready")
    process.close()
    code, _, _ = run(project, sh(f"while [ ! -e {flag} ]; do sleep 0.02; done"))
    assert code == 0
