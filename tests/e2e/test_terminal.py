"""The command line at a terminal: questions, the bar, colours."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.place import Place
from tests.e2e.projects import write_config
from tests.support.remotes import Remote

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX pty")


class Terminal:
    """A command at a terminal of its own."""

    def __init__(self, place: Place, cwd: Path, *arguments: str) -> None:
        import pty

        argv = [sys.executable, "-m", "colab_devsync", *arguments]
        env = {**place.env, "TERM": "xterm", "COLUMNS": "120"}
        self.text = ""
        self._fd, theirs = pty.openpty()
        self._process = subprocess.Popen(
            argv, cwd=cwd, env=env, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)

    def read_until(self, pattern: str) -> None:
        while not re.search(pattern, self.text):
            data = self._read()
            assert data, f"no {pattern!r} in {self.text!r}"

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def interrupt(self) -> None:
        """What ctrl-C does, had this terminal a foreground group."""
        self._process.send_signal(signal.SIGINT)

    def end(self) -> int:
        while self._read():
            pass
        os.close(self._fd)
        return self._process.wait(30)

    def _read(self) -> bytes:
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # Linux: the other side has closed
            return b""
        self.text += data.decode()
        return data


@pytest.fixture
def here(tmp_path: Path, remote: Remote) -> Path:
    folder = tmp_path / "segmentation"
    folder.mkdir()
    for number in range(200):
        (folder / f"{number}.bin").write_bytes(os.urandom(20_000))
    write_config(folder, remote, host_key=None)
    return folder


def test_a_host_key_is_asked_about_and_the_bar_is_shown(
    place: Place, here: Path, remote: Remote
) -> None:
    terminal = Terminal(place, here, "sync")
    terminal.read_until(r"\(\w+.*\)( \[\w+\])?: $")
    assert remote.login.fingerprint in terminal.text
    terminal.type("perhaps\n")
    terminal.read_until("is not one of")
    terminal.type(re.findall(r"\((\w+), ", terminal.text)[0] + "\n")
    assert terminal.end() == 0, terminal.text
    assert re.search(r"\d+/\d+ files, .* of .*MB", terminal.text)
    assert "201 files sent" in terminal.text


def test_no_at_the_terminal_is_no(place: Place, here: Path, remote: Remote) -> None:
    terminal = Terminal(place, here, "connect")
    terminal.read_until(r"\(\w+.*\)( \[\w+\])?: $")
    terminal.type(re.findall(r", (\w+)\)", terminal.text)[0] + "\n")
    assert terminal.end() == 3
    assert "error:" in terminal.text


def test_colours_only_where_they_are_wanted(place: Place, here: Path) -> None:
    terminal = Terminal(place, here, "status")
    assert terminal.end() == 0
    assert "\x1b[" in terminal.text
    place.env["NO_COLOR"] = "1"
    terminal = Terminal(place, here, "status")
    assert terminal.end() == 0
    assert "\x1b[" not in terminal.text
    assert b"\x1b[" not in place.run("status", cwd=here).stdout


def test_init_asks_at_a_terminal(place: Place) -> None:
    terminal = Terminal(place, place.home, "init")
    terminal.read_until("reached.*: $")
    terminal.type("direct\n")
    terminal.read_until("Host name.*: $")
    terminal.type("vm.example.com\n")
    terminal.read_until("port.*: $")
    terminal.type("2222\n")
    terminal.read_until("User.*: $")
    terminal.type("\n")
    assert terminal.end() == 0, terminal.text
    text = (place.home / ".colabremote.toml").read_text()
    assert 'host = "vm.example.com"\nport = 2222\nuser = "root"\n' in text


def test_the_bar_makes_room_for_a_question(place: Place, project: Path) -> None:
    for number in range(30):
        (project / f"{number}.py").write_text("x")
    assert place.run("sync", cwd=project).returncode == 0
    for number in range(30):
        (project / f"{number}.py").unlink()
    terminal = Terminal(place, project, "sync")
    # Plain: the bar would have coloured it, and drawn itself over it.
    terminal.read_until(r"Delete 30 files on the VM .* \(yes, no\): $")
    terminal.type("yes\n")
    assert terminal.end() == 0, terminal.text
    assert "30 deleted" in terminal.text
