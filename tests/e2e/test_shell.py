"""`shell` and `exec -t` as a person has them: the real command in a terminal."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.place import Place
from tests.e2e.projects import write_config
from tests.e2e.wire_client import Editor
from tests.support.processes import wait_childless
from tests.support.proxy import ChaosProxy
from tests.support.remotes import Remote

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX pty")

TIMEOUT_S = 60.0
COMMAND = [sys.executable, "-m", "colab_devsync"]
PROMPT = "ps1-"


class Screen:
    """A command at a terminal of its own, as its session's leader."""

    def __init__(self, argv: list[str], cwd: Path, env: dict[str, str]) -> None:
        import termios

        from colab_devsync.agent.terminal import Terminal

        self._terminal = Terminal(30, 100)
        self._modes: Callable[[], Any] = lambda: termios.tcgetattr(self._terminal.fd)
        self._first_modes = self._modes()
        self.process = self._terminal.start(argv[0], argv, str(cwd), env)
        self.text = ""
        self.all = ""

    @property
    def is_raw(self) -> bool:
        return bool(self._modes() != self._first_modes)

    def type(self, keys: str) -> None:
        os.write(self._terminal.fd, keys.encode())

    def resize(self, rows: int, columns: int) -> None:
        self._terminal.resize(rows, columns)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """What is before the end of the match is not looked at again."""
        while (found := re.search(pattern, self.text)) is None:
            assert self._read(), f"no {pattern!r} in {self.text!r}"
        self.text = self.text[found.end() :]
        return found

    def end(self) -> int:
        """Reads the rest; the exit code. The terminal is as it was."""
        while self._read():
            pass
        return self.process.wait(TIMEOUT_S)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(TIMEOUT_S)
        self._terminal.close()

    def _read(self) -> str:
        ready, _, _ = select.select([self._terminal.fd], [], [], TIMEOUT_S)
        assert ready, f"silence after {self.text!r}"
        data = self._terminal.read(65536).decode()
        self.text += data
        self.all += data
        return data


Open = Callable[..., Screen]


@pytest.fixture
def here(tmp_path: Path, remote: Remote) -> Path:
    folder = tmp_path / "segmentation"
    folder.mkdir()
    (folder / "rc").write_text(f"PS1={PROMPT}; unset PROMPT_COMMAND\n")
    write_config(folder, remote)
    return folder


@pytest.fixture
def at_terminal(place: Place, here: Path) -> Iterator[Open]:
    """Starts our command at a terminal."""
    screens: list[Screen] = []

    def start(*arguments: str, argv: list[str] | None = None) -> Screen:
        env = {**place.env, "TERM": "xterm", "COLORTERM": "truecolor"}
        screens.append(Screen(argv or [*COMMAND, *arguments], here, env))
        return screens[-1]

    yield start
    for screen in screens:
        screen.close()


@pytest.fixture
def shell(place: Place, here: Path, at_terminal: Open) -> Open:
    """Opens the shell, with a plain prompt."""

    def start(**options: Any) -> Screen:
        assert place.run("sync", cwd=here).returncode == 0
        screen = at_terminal("shell", **options)
        # What stands on the line is replaced: no prompt is known before.
        screen.type("exec bash --rcfile rc\n")
        screen.wait_for(f"[\r\nhl]{PROMPT}")
        assert screen.is_raw
        return screen

    return start


def test_the_shell_has_size_colours_folder_and_code(
    shell: Open, remote: Remote
) -> None:
    screen = shell()
    screen.type('stty size; echo "<$TERM>" "<$COLORTERM>" "<$PWD>"; tty\n')
    screen.wait_for("30 100\r\n")
    term, depth, cwd = screen.wait_for("<(x.*)> <(.*)> <(.*)>\r\n").groups()
    assert (term, depth, cwd) == ("xterm", "truecolor", str(remote.root))
    screen.wait_for("/dev/")
    screen.type(
        "sh -c 'trap \"stty size\" WINCH; echo up; while :; do sleep 1; done'\n"
    )
    screen.wait_for("[\r\n]up\r")
    screen.resize(12, 34)
    screen.wait_for("12 34\r\n")
    screen.type("\x03")
    screen.wait_for(PROMPT)
    screen.type("exit 7\n")
    assert screen.end() == 7
    assert not screen.is_raw


def test_control_keys_go_to_the_vm(shell: Open) -> None:
    screen = shell()
    screen.type("sh -c 'echo up; exec sleep 60'\n")
    screen.wait_for("[\r\n]up\r")
    screen.type("\x1a")
    screen.wait_for("Stopped")
    screen.type("fg\n")
    screen.wait_for("[\r\n]sh -c")
    screen.type("\x03")
    screen.wait_for(PROMPT)
    screen.type("false; echo still $?\n")
    screen.wait_for("still 1")
    screen.wait_for(PROMPT)
    screen.type("\x04")
    assert screen.end() == 0
    assert not screen.is_raw


def test_a_flood_is_stopped_by_ctrl_c(shell: Open) -> None:
    screen = shell()
    screen.type("echo pid $$\n")
    pid = int(screen.wait_for(r"pid (\d+)\r").group(1))
    screen.type("yes\n")
    for _ in range(5000):
        screen.wait_for("y\r\n")
    before = len(screen.all)
    screen.type("\x03")
    wait_childless(pid)  # nobody reads meanwhile
    screen.wait_for(PROMPT)
    assert len(screen.all) - before < 2_000_000
    screen.type("exit 0\n")
    assert screen.end() == 0


def test_without_a_terminal_it_reads_commands(
    place: Place, here: Path, remote: Remote
) -> None:
    done = place.run("shell", cwd=here, stdin=b"tty\npwd\necho no >&2\nexit 5\n")
    assert done.returncode == 5
    out = done.stdout.decode().splitlines()
    assert out == ["not a tty", str(remote.root)]
    assert done.stderr.decode().splitlines()[-1] == "no"


def test_a_lost_link_is_said_and_is_3(
    here: Path, remote: Remote, proxy: ChaosProxy, shell: Open
) -> None:
    write_config(here, remote, port=proxy.port)
    screen = shell()
    proxy.reset_all()
    assert screen.end() == 3
    assert not screen.is_raw
    assert "link was lost" in screen.all
    assert "colab-devsync shell" in screen.all
    assert "\x1b[?25h" in screen.all  # the cursor is visible again


def test_there_is_a_way_out_when_the_link_hangs(
    here: Path, remote: Remote, proxy: ChaosProxy, shell: Open
) -> None:
    write_config(here, remote, port=proxy.port)
    screen = shell()
    screen.type("echo a~.; echo ~~b\n")  # not at the start of a line
    screen.wait_for("[\r\n]a~.\r\n~~b\r\n")
    screen.type("~~c")  # sent as one ~
    screen.wait_for("[^~]~c")
    screen.type("\x03")
    proxy.freeze()
    screen.type("nobody hears this\r~.")
    assert screen.end() == 130
    assert not screen.is_raw


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_us_leaves_the_terminal_as_it_was(
    shell: Open, number: signal.Signals
) -> None:
    screen = shell()
    screen.process.send_signal(number)
    assert screen.end() == 128 + number
    assert not screen.is_raw


def test_when_the_daemon_dies_the_terminal_is_as_it_was(
    place: Place, shell: Open
) -> None:
    screen = shell()
    for pid in place.daemon_pids():
        os.kill(pid, signal.SIGKILL)
    assert screen.end() == 1
    assert not screen.is_raw
    assert "daemon ended" in screen.all


def test_exec_at_a_terminal_and_without(
    place: Place, here: Path, at_terminal: Open
) -> None:
    assert place.run("exec", "--", "tty", cwd=here).stdout == b"not a tty\n"
    script = "tty; echo apart >&2; stty size; read -r word; echo got $word; exit 4"
    screen = at_terminal("exec", "-t", "--", "sh", "-c", script)
    screen.wait_for("/dev/.*\r\napart\r\n30 100\r\n")
    screen.type("it\n")
    screen.wait_for("it\r\ngot it\r\n")
    assert screen.end() == 4
    piped = place.run("exec", "-t", "cat", cwd=here, stdin=b"one")
    assert (piped.returncode, piped.stdout.count(b"one")) == (0, 2)


def test_a_question_is_answered_before_the_keys_are_the_shells(
    here: Path, remote: Remote, at_terminal: Open
) -> None:
    write_config(here, remote, host_key=None)
    screen = at_terminal("exec", "-t", "--", "sh", "-c", "echo up; read -r x; echo $x")
    answer = screen.wait_for(r"\((\w+), .*\)( \[\w+\])?: ").group(1)
    assert not screen.is_raw
    screen.type(f"{answer}\n")
    screen.wait_for("up\r\n")
    screen.type("mine\n")
    screen.wait_for("mine\r\nmine\r\n")
    assert screen.end() == 0


def test_what_an_editor_starts_is_a_shell(
    place: Place, here: Path, at_terminal: Open
) -> None:
    with place.editor() as editor:
        assert isinstance(editor, Editor)
        editor.initialize(here, options={"autoConnect": False})
        found = editor.command("shell", {})
    assert found["name"] == "colab-segmentation"
    assert Path(found["cwd"]) == here
    screen = at_terminal(argv=found["argv"])
    screen.type("echo $((6*7)); exit 2\n")
    screen.wait_for("42\r\n")
    assert screen.end() == 2
