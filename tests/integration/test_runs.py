"""Runs: started in the background, followed, listed, stopped."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import IO, Any

import pytest

from colab_devsync.core.events import RunChanged
from colab_devsync.core.runs import PortWait, RunInfo, RunSpec, RunStream
from colab_devsync.engine.programs.runs import Attachment
from colab_devsync.errors import NotFlushed, RunError, UnknownRun
from tests.support.project import Project
from tests.support.remotes import Login
from tests.support.run_output import WAIT_S, RunOutput, until
from tests.support.sshd import Sshd


def sh(script: str, **fields: Any) -> RunSpec:
    return RunSpec(argv=["sh", "-c", script], **fields)


def start(project: Project, spec: RunSpec, **options: Any) -> RunInfo:
    return project.session.runs.start(spec, **options).result(WAIT_S)


def attach(
    project: Project, run_id: str, **options: Any
) -> tuple[Attachment, RunOutput]:
    output = RunOutput()
    return project.session.runs.attach(run_id, output, **options), output


def run(project: Project, spec: RunSpec, **options: Any) -> tuple[RunInfo, RunOutput]:
    """To its end."""
    info = start(project, spec, **options)
    attachment, output = attach(project, info.id)
    info = attachment.ended.result(WAIT_S)
    assert output.wrong == []
    return info, output


def test_a_file_runs_as_it_was_saved_with_both_streams_apart(project: Project) -> None:
    project.write(
        "train.py",
        "import sys\nprint('out', *sys.argv[1:])\nprint('err', file=sys.stderr)\n"
        "sys.exit(7)\n",
    )
    info, output = run(project, RunSpec(file="train.py", args=("a b", "*")))
    assert (info.state, info.exit_code, info.signal) == ("exited", 7, None)
    assert (output.out, output.err) == (b"out a b *\n", b"err\n")
    assert (info.stdout, info.stderr) == (len(output.out), len(output.err))
    assert info.id == "train-1"
    assert info.ended is not None
    assert 0 <= info.ended - info.started < 60


def test_what_was_lost_or_changed_on_the_vm_is_seen_before_a_run(
    project: Project,
) -> None:
    """Nobody told of it, and no survey of the VM comes before the order to start."""
    project.write("train.py", "import data\nprint(data.NAME)\n")
    project.write("data.py", "NAME = 'ours'\n")
    project.sync()
    (project.vm / "data.py").unlink()
    info, output = run(project, RunSpec(file="train.py"))
    assert (info.exit_code, output.out) == (0, b"ours\n")
    project.write_there("data.py", "NAME = 'of the VM'\n")
    info, output = run(project, RunSpec(file="train.py"))
    assert (info.exit_code, output.out) == (0, b"of the VM\n")
    assert [one.path for one in project.session.conflicts()] == ["data.py"]
    project.write("more.py", "")
    info, output = run(project, RunSpec(file="train.py"))  # though a conflict is open
    assert (info.exit_code, output.out) == (0, b"of the VM\n")
    assert (project.vm / "more.py").exists()


def test_a_module_runs_from_the_configured_folder_with_all_environments(
    project: Project,
) -> None:
    project.configure(
        more='[remote.env]\nA = "remote"\nB = "remote"\nC = "remote"\n'
        '[run]\nmodule = "pkg.show"\nargs = ["x"]\ncwd = "sub"\n'
        '[run.env]\nB = "run"\nC = "run"\n'
    )
    project.write("sub/pkg/__init__.py", "")
    project.write(
        "sub/pkg/show.py",
        "import os, sys\nprint(*sys.argv[1:], os.getcwd())\n"
        "print(*(os.environ[n] for n in 'ABC'), os.environ['PYTHONUNBUFFERED'])\n",
    )
    info, output = run(project, RunSpec(env={"C": "spec"}))
    there = (project.vm / "sub").resolve()
    assert output.out.decode().splitlines() == [f"x {there}", "remote run spec 1"]
    assert (info.id, info.cwd) == ("show-1", str(there))


def test_a_file_is_found_from_another_folder(project: Project) -> None:
    project.write("tools/a.py", "import os; print(os.getcwd(), __file__)\n")
    project.write("data/x", "")
    _, output = run(project, RunSpec(file="tools/a.py", cwd="data"))
    vm = project.vm.resolve()
    assert output.out.decode().split() == [str(vm / "data"), str(vm / "tools/a.py")]


def test_output_comes_while_it_runs(project: Project) -> None:
    fifo(project)
    info = start(project, sh("echo one; read x < go; echo two"), sync=False)
    attachment, output = attach(project, info.id)
    output.wait_for(b"one\n")
    assert not attachment.ended.done()
    project.session.runs.stop(info.id).result(WAIT_S)


def fifo(project: Project, name: str = "go") -> Path:
    """A program that opens it waits for us."""
    path = project.vm / name
    os.mkfifo(path)
    return path


def test_a_run_outlives_the_session_and_a_later_one_reads_it_all(
    project: Project,
) -> None:
    go = fifo(project)
    info = start(project, sh("echo one; cat go; echo two >&2; exit 3"))
    project.wait(
        lambda: [one.id for one in project.session.status().runs] == [info.id],
        "the status knows",
    )
    project.close()
    project.log.clear()
    project.connect()
    project.wait(
        lambda: [one.state for one in project.session.status().runs] == ["running"],
        "the run of before is known",
    )
    assert project.session.is_in_use
    attachment, output = attach(project, info.id)
    output.wait_for(b"one\n")
    go.write_bytes(b"more\n")
    ended = attachment.ended.result(WAIT_S)
    assert (output.out, output.err) == (b"one\nmore\n", b"two\n")
    assert (ended.state, ended.exit_code) == ("exited", 3)
    project.wait(lambda: not project.session.is_in_use, "nothing is in use")


def test_several_attach_from_anywhere(project: Project) -> None:
    info, _ = run(project, sh("printf 0123456789; printf abc >&2"))
    for follow in (True, False):
        attachment, output = attach(
            project, info.id, offsets={"stdout": 4, "stderr": 3}, follow=follow
        )
        assert attachment.ended.result(WAIT_S).state == "exited"
        assert output.wrong == ["stdout: 4 after 0"]
        assert (output.out, output.err) == (b"456789", b"")


def test_logs_of_a_running_run_end_where_they_are(project: Project) -> None:
    fifo(project)
    info = start(project, sh("echo one; cat go"))
    first, output = attach(project, info.id)
    output.wait_for(b"one\n")
    attachment, output = attach(project, info.id, follow=False)
    now = attachment.ended.result(WAIT_S)
    assert (now.state, now.stdout, output.out) == ("running", 4, b"one\n")
    assert not first.ended.done()
    assert project.session.runs.stop(info.id, kill=True).result(WAIT_S)
    assert first.ended.result(WAIT_S).signal == "SIGKILL"


def test_closing_an_attachment_leaves_the_run_alone(project: Project) -> None:
    go = fifo(project)
    info = start(project, sh("echo one; cat go"))
    attachment, output = attach(project, info.id)
    output.wait_for(b"one\n")
    attachment.close()
    assert attachment.ended.cancelled()
    go.write_bytes(b"end\n")
    again, output = attach(project, info.id)
    assert again.ended.result(WAIT_S).exit_code == 0
    assert output.out == b"one\nend\n"


def test_a_run_nobody_watches_is_noticed_when_it_ends(project: Project) -> None:
    go = fifo(project)
    info = start(project, sh("cat go"))
    go.write_bytes(b"")
    project.wait(
        lambda: [one.state for one in project.session.status().runs] == ["exited"],
        "its end is known",
    )
    told = [one.run for one in project.log.events if isinstance(one, RunChanged)]
    assert [(one.id, one.state) for one in told] == [
        (info.id, "running"),
        (info.id, "exited"),
    ]


def test_the_list(project: Project) -> None:
    for _ in range(2):
        run(project, sh("exit 4"))
    fifo(project)
    last = start(project, sh("cat go", cwd="."))
    found = project.session.runs.list().result(WAIT_S)
    assert [(one.id, one.state, one.exit_code) for one in found] == [
        ("sh-1", "exited", 4),
        ("sh-2", "exited", 4),
        ("sh-3", "running", None),
    ]
    assert found[-1] == last
    project.session.runs.stop(last.id).result(WAIT_S)


def test_a_server_that_admits_no_forwards(
    project: Project, make_sshd: Callable[..., Sshd]
) -> None:
    sshd = make_sshd(forwarding=False)
    project.remote.login = Login(
        sshd.port, sshd.user, sshd.identity_file, sshd.fingerprint
    )
    project.configure()
    info, output = run(project, sh("echo out; echo err >&2; exit 3"))
    assert (info.exit_code, output.out, output.err) == (3, b"out\n", b"err\n")
    attachment, output = attach(project, info.id)
    assert attachment.ended.result(WAIT_S) == info
    assert output.out == b"out\n"


# --- stopping ---------------------------------------------------------------------


def test_stop_interrupts(project: Project) -> None:
    project.write(
        "a.py",
        "import signal\nprint('up')\n"
        "try: signal.pause()\nexcept KeyboardInterrupt: print('saved')\n",
    )
    info = start(project, RunSpec(file="a.py"))
    attachment, output = attach(project, info.id)
    output.wait_for(b"up\n")
    answer = project.session.runs.stop(info.id).result(WAIT_S)
    ended = attachment.ended.result(WAIT_S)
    assert output.out == b"up\nsaved\n"
    assert (ended.exit_code, ended.signal) == (0, None)
    assert answer.id == info.id
    # A second time, it has ended already.
    assert project.session.runs.stop(info.id).result(WAIT_S) == ended


def test_stop_ends_even_who_does_not_want_to(project: Project) -> None:
    script = (
        "trap 'echo INT' INT; trap 'echo TERM' TERM; echo up; "
        "while :; do read x < go; done"
    )
    fifo(project)
    info = start(project, sh(script))
    attachment, output = attach(project, info.id)
    output.wait_for(b"up\n")
    project.session.runs.stop(info.id, grace_s=(1, 1)).result(WAIT_S)
    ended = attachment.ended.result(WAIT_S)
    assert output.out == b"up\nINT\nTERM\n"
    assert (ended.exit_code, ended.signal) == (137, "SIGKILL")


# --- what cannot run --------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (RunSpec(file="no.py"), r"no file .*/no\.py on the VM"),
        (RunSpec(file="a.py", cwd="no"), r"no folder .*/no on the VM"),
        (RunSpec(argv=["no-python", "-u"]), "no command no-python on the VM"),
        (RunSpec(argv=["./a.py"]), "Permission denied"),
        (RunSpec(argv=["sh", "a\0b"]), "not an argument"),
        (RunSpec(), "nothing to run"),
    ],
)
def test_what_cannot_start(project: Project, spec: RunSpec, words: str) -> None:
    project.write("a.py", "x\n")
    with pytest.raises(RunError, match=words) as caught:
        start(project, spec)
    assert caught.value.hint
    assert project.session.runs.list().result(WAIT_S) == ()


def test_what_python_itself_complains_about(project: Project) -> None:
    project.write("bad.py", "def (\n")
    info, output = run(project, RunSpec(file="bad.py"))
    assert info.exit_code == 1
    assert b"SyntaxError" in output.err
    info, output = run(project, RunSpec(module="no_such_module"))
    assert info.exit_code == 1
    assert b"No module named" in output.err


def test_an_unknown_run(project: Project) -> None:
    for run_id in ("no-1", "../../x-1", "", "x"):
        attachment, _ = attach(project, run_id)
        with pytest.raises(UnknownRun, match="no run"):
            attachment.ended.result(WAIT_S)
        with pytest.raises(UnknownRun):
            attachment.started.result(WAIT_S)
        with pytest.raises(UnknownRun):
            project.session.runs.stop(run_id).result(WAIT_S)


# --- ports ------------------------------------------------------------------------

_SERVE = (
    "import socket,time\ns=socket.socket(); s.bind(('127.0.0.1',0)); s.listen()\n"
    "print('soon')\nprint('http://x:%d/' % s.getsockname()[1])\n"
    "s.accept(); print('hello')\n"
)


def test_a_port_found_in_the_output(project: Project) -> None:
    project.write("serve.py", _SERVE)
    wait_port = PortWait(pattern=r"http://[^:]*:(\d+)/", limit_s=10)
    info = start(
        project, RunSpec(file="serve.py"), kind="tensorboard", wait_port=wait_port
    )
    assert info.port
    assert info.kind == "tensorboard"
    assert project.session.runs.list().result(WAIT_S)[0].port == info.port
    attachment, output = attach(project, info.id)
    project.session.access.uplink(5).dial("127.0.0.1", info.port).close()
    assert attachment.ended.result(WAIT_S).port == info.port
    assert output.out.startswith(b"soon\nhttp")
    assert output.out.endswith(b"hello\n")


def test_a_port_found_in_a_file(project: Project) -> None:
    fifo(project)
    script = 'echo "{\\"client\\": {\\"port\\": 4711}}" > "$END"; cat go'
    spec = sh(script, env={"END": "{run_dir}/ends.json"})
    info = start(project, spec, kind="debug", wait_port=PortWait(file="ends.json"))
    assert info.port == 4711
    project.session.runs.stop(info.id, kill=True).result(WAIT_S)


def test_no_port_in_time(project: Project) -> None:
    fifo(project)
    wait_port = PortWait(file="ends.json", limit_s=0.2)
    info = start(project, sh("cat go"), wait_port=wait_port)
    assert (info.state, info.port) == ("running", None)
    assert info.message == "no port within 0.2 s"
    project.session.runs.stop(info.id, kill=True).result(WAIT_S)


def test_a_program_that_ends_before_its_port_is_known(project: Project) -> None:
    info = start(project, sh("echo no; exit 2"), wait_port=PortWait(file="ends.json"))
    assert (info.state, info.exit_code) == ("exited", 2)
    attachment, output = attach(project, info.id)
    assert attachment.ended.result(WAIT_S) == info
    assert output.out == b"no\n"


def test_a_debuggee_nobody_attaches_to_is_ended(project: Project) -> None:
    project.write("serve.py", _SERVE)
    wait_port = PortWait(pattern=r":(\d+)/", idle_limit_s=0.3)
    info = start(project, RunSpec(file="serve.py"), kind="debug", wait_port=wait_port)
    attachment, output = attach(project, info.id)
    ended = attachment.ended.result(WAIT_S)
    assert ended.message
    assert "no debugger attached within 0.3 s; the program was ended" in ended.message
    assert output.err.startswith(b"colab-devsync: no debugger attached")
    assert ended.signal == "SIGINT" or ended.exit_code
    assert signal.Signals[ended.signal or "SIGINT"]


# --- giving up, and much output ---------------------------------------------------


def test_a_start_that_is_cancelled_leaves_nothing_running(project: Project) -> None:
    fifo(project)
    cancel = threading.Event()
    starting = project.session.runs.start(
        sh("cat go"), wait_port=PortWait(file="ends.json"), cancel=cancel
    )
    until(lambda: project.session.runs.list().result(WAIT_S), "it runs")
    cancel.set()
    with pytest.raises(CancelledError):
        starting.result(WAIT_S)
    project.wait(
        lambda: [one.state for one in project.session.runs.snapshot] == ["exited"],
        "it was stopped",
    )


class Heard(threading.Event):
    """Tells when somebody has looked after it was set."""

    def __init__(self) -> None:
        super().__init__()
        self.by_somebody = threading.Event()

    def is_set(self) -> bool:
        found = super().is_set()
        if found:
            self.by_somebody.set()
        return found


def waits_for(lock: IO[bytes]) -> bool:
    """Whether anybody is blocked by it."""
    inode = f":{os.fstat(lock.fileno()).st_ino} "
    lines = Path("/proc/locks").read_text().splitlines()
    return any("-> FLOCK" in line and inode in line for line in lines)


def test_a_start_that_is_cancelled_while_the_vm_starts_it(project: Project) -> None:
    import fcntl  # as the agent does, on POSIX machines only

    run(project, sh("true"))
    fifo(project)
    cancel = Heard()
    with open(project.vm / ".colab-devsync" / "runs" / "lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one start at a time
        starting = project.session.runs.start(sh("cat go"), cancel=cancel)
        until(lambda: waits_for(lock), "the VM is about to start it")
        cancel.set()
        assert cancel.by_somebody.wait(WAIT_S)
        project.session.runs.list().result(WAIT_S)  # what heard of it is done
    with pytest.raises(CancelledError):
        starting.result(WAIT_S)

    def states() -> list[str]:
        return [one.state for one in project.session.runs.list().result(WAIT_S)]

    until(lambda: states() == ["exited", "exited"], "it was stopped")


def test_a_file_that_cannot_be_mirrored_keeps_the_run_from_starting(
    project: Project,
) -> None:
    project.write("a.py", "print(1)\n")
    project.sync()
    (project.vm / "data").write_text("a file where a folder is needed\n")
    project.write("data/x", "x\n")
    with pytest.raises(NotFlushed, match="data"):
        start(project, RunSpec(file="a.py"))
    assert project.session.runs.list().result(WAIT_S) == ()
    info, output = run(project, RunSpec(file="a.py"), sync=False)
    assert (info.exit_code, output.out) == (0, b"1\n")


FLOOD = 200_000_000


def test_a_flood_neither_fills_the_memory_nor_holds_up_saves(project: Project) -> None:
    resource = pytest.importorskip("resource")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes in ru_maxrss
    project.write("flood.py", "x\n")
    project.sync()
    got = 0
    quarter, may_go_on = threading.Event(), threading.Event()

    def on_output(stream: RunStream, offset: int, data: bytes) -> None:
        nonlocal got
        assert (stream, offset) == ("stdout", got)
        got += len(data)
        if got > FLOOD // 4 and not quarter.is_set():
            quarter.set()
            assert may_go_on.wait(WAIT_S)  # a client that does not read for a while

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    info = start(project, sh(f"yes 0123456789abcdef | head -c {FLOOD}"), sync=False)
    attachment = project.session.runs.attach(info.id, on_output)
    for number in range(20):
        project.save("flood.py", f"{number}\n")
        project.wait_arrived("flood.py")
    assert quarter.wait(WAIT_S)
    log = project.vm / ".colab-devsync" / "runs" / info.id / "stdout"
    until(lambda: log.stat().st_size == FLOOD, "all is written")
    project.save("flood.py", "while nobody reads\n")
    project.wait_arrived("flood.py")
    may_go_on.set()
    assert attachment.ended.result(150).stdout == FLOOD
    assert got == FLOOD
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before
    assert grown < 40_000_000
