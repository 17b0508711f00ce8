"""Programs at a terminal on the VM, and what must not hold up anything else."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence

import pytest

from colab_devsync.engine.programs.process import ExecSpec, RemoteProcess, TerminalSize
from colab_devsync.errors import LinkLost
from tests.support.processes import wait_childless
from tests.support.project import Project
from tests.support.proxy import ChaosProxy

WAIT_S = 60.0
PROMPT = "ps1-"
SHELL_ENV = {"SHELL": "/bin/bash", "TERM": "xterm"}


class Screen:
    """An on_output that can be waited on. Closed: it takes nothing more."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open = threading.Event()
        self._open.set()
        self.text = ""
        self.size = 0
        self.streams: set[str] = set()

    def __call__(self, stream: str, data: bytes) -> None:
        assert self._open.wait(WAIT_S)
        with self._changed:
            self.streams.add(stream)
            self.size += len(data)
            self.text = (self.text + data.decode("utf-8", "replace"))[-100_000:]
            self._changed.notify_all()

    def stop_reading(self) -> None:
        self._open.clear()

    def go_on(self) -> None:
        self._open.set()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """What is before the end of the match is not looked at again."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            found[:] = filter(None, [re.search(pattern, self.text)])
            return bool(found)

        with self._changed:
            assert self._changed.wait_for(look, WAIT_S), (pattern, self.text)
            self.text = self.text[found[0].end() :]
        return found[0]


def start(project: Project, screen: Screen, argv: Sequence[str]) -> RemoteProcess:
    spec = ExecSpec(argv, tty=TerminalSize(30, 100), term="xterm")
    return project.session.exec(spec, screen).result(WAIT_S)


def start_shell(project: Project, screen: Screen) -> RemoteProcess:
    """bash with a plain prompt, at a terminal."""
    project.write("rc", f"PS1={PROMPT}; unset PROMPT_COMMAND\n")
    project.sync()
    process = start(project, screen, ["bash", "--rcfile", "rc", "-i"])
    screen.wait_for(PROMPT)
    return process


def test_a_shell_at_a_terminal(project: Project) -> None:
    screen = Screen()
    shell = start_shell(project, screen)
    shell.write_stdin(b"stty size; echo $TERM; pwd\r")
    screen.wait_for("30 100\r\n")
    screen.wait_for("xterm\r\n")
    screen.wait_for(re.escape(str(project.vm.resolve())))
    shell.resize(TerminalSize(12, 34))
    shell.write_stdin(b"stty size\r")
    screen.wait_for("12 34\r\n")
    shell.write_stdin(b"exit 9\r")
    assert shell.exit_code.result(WAIT_S) == 9
    assert screen.streams == {"stdout"}


def test_the_login_shell(project: Project) -> None:
    project.write("pkg/x.py", "x\n")
    project.sync()
    screen = Screen()
    spec = ExecSpec(
        (), cwd="pkg", env={"WHO": "a b"}, shell=True, tty=TerminalSize(24, 80)
    )
    shell = project.session.exec(spec, screen).result(WAIT_S)
    shell.write_stdin(b'echo "<$WHO>" "<$PWD>" "<$TERM>" $?; exit 6\r')
    found = screen.wait_for(r"<(a b)> <(/.*)> <(\S+)> 0\r")
    assert found.group(2).endswith("/pkg")
    assert found.group(3).startswith("xterm")
    assert shell.exit_code.result(WAIT_S) == 6


def test_control_keys(project: Project) -> None:
    screen = Screen()
    shell = start_shell(project, screen)
    shell.write_stdin(b"sh -c 'echo up; exec sleep 60'\r")
    screen.wait_for("[\r\n]up\r")
    shell.write_stdin(b"\x1a")
    screen.wait_for("Stopped")
    shell.write_stdin(b"fg\r")
    screen.wait_for("[\r\n]sh -c")
    shell.write_stdin(b"\x03")
    screen.wait_for(PROMPT)
    shell.write_stdin(b"\x04")
    assert shell.exit_code.result(WAIT_S) == 130  # the last command's


def test_ctrl_c_ends_a_flood_nobody_reads(project: Project) -> None:
    screen = Screen()
    shell = start_shell(project, screen)
    shell.write_stdin(b"echo pid $$\r")
    pid = int(screen.wait_for(r"pid (\d+)\r").group(1))
    shell.write_stdin(b"yes\r")
    screen.wait_for("y\r\ny\r\n")
    screen.stop_reading()
    before = screen.size
    shell.write_stdin(b"\x03")
    wait_childless(pid)
    screen.go_on()
    screen.wait_for(PROMPT)
    assert screen.size - before < 512 << 10
    shell.write_stdin(b"exit 0\r")
    assert shell.exit_code.result(WAIT_S) == 0


def test_output_nobody_reads_stays_on_the_vm(project: Project) -> None:
    screen = Screen()
    count = project.vm / "count"
    project.connect()
    script = (
        "import os\n"
        "for number in range(60):\n"
        "    os.write(1, bytes(1 << 20))\n"
        "    open('count', 'w').write(str(number))\n"
    )
    screen.stop_reading()
    spec = ExecSpec(["python3", "-c", script])
    process = project.session.exec(spec, screen).result(WAIT_S)
    pause = threading.Event()
    written, last = -1, -2
    while written != last:  # until it stands still
        pause.wait(0.5)
        last, written = written, int(count.read_text()) if count.exists() else -1
    assert written < 3
    project.save("a.py", "a = 1\n")
    project.wait_arrived("a.py")  # and it is in nobody's way
    screen.go_on()
    process.close_stdin()
    assert process.exit_code.result(WAIT_S) == 0
    assert screen.size == 60 << 20


def test_a_program_that_does_not_read_gets_signals(project: Project) -> None:
    screen = Screen()
    script = "trap 'exit 9' INT; echo up; while :; do sleep 60; done"
    process = project.session.exec(ExecSpec(["sh", "-c", script]), screen)
    program = process.result(WAIT_S)
    screen.wait_for("up")
    writer = threading.Thread(target=program.write_stdin, args=(bytes(8 << 20),))
    writer.start()
    writer.join(1)
    assert writer.is_alive()  # held back
    program.signal("INT")
    assert program.exit_code.result(WAIT_S) == 9
    writer.join(WAIT_S)
    assert not writer.is_alive()


def test_much_input_comes_through_while_output_does(project: Project) -> None:
    screen = Screen()
    process = project.session.exec(ExecSpec(["cat"]), screen).result(WAIT_S)
    process.write_stdin(b"0123456789" * 800_000)
    process.close_stdin()
    assert process.exit_code.result(WAIT_S) == 0
    assert screen.size == 8_000_000


def test_a_lost_link_ends_the_shell_here_and_there(
    project: Project, proxy: ChaosProxy
) -> None:
    project.configure(port=proxy.port)
    screen = Screen()
    shell = start_shell(project, screen)
    flag = project.vm / "ended"
    shell.write_stdin(f"trap 'echo x > {flag}' EXIT; echo go\r".encode())
    screen.wait_for("[\r\n]go\r")
    proxy.reset_all()
    with pytest.raises(LinkLost):
        shell.exit_code.result(WAIT_S)
    project.wait_link("online")
    project.wait(flag.exists, "the shell ended there")
