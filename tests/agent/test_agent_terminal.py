"""Programs at a terminal of their own, on every interpreter."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from colab_devsync.agent.credit import Credit
from tests.agent.driver import Driven
from tests.agent.program import Program, ended
from tests.support.processes import wait_childless

SIZE = {"rows": 30, "cols": 100, "term": "xterm"}
PROMPT = "ps1-"


class Screen(Program):
    """What a program at a terminal shows, and keys for it."""

    def __init__(self, agent: Driven, *argv: str, **fields: Any) -> None:
        super().__init__(agent, *argv, **{"tty": SIZE, **fields})
        self.text = ""

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match; what is before its end is not looked at again."""
        while (found := re.search(pattern, self.text)) is None:
            frame = self.next()
            assert frame.meta["op"] == "output", (frame, self.text)
            assert frame.meta["stream"] == 1
            self.text += frame.data.decode()
        self.text = self.text[found.end() :]
        return found

    def type(self, keys: str) -> None:
        self.tell("input", keys.encode())


def interactive(agent: Driven, root: Path, **fields: Any) -> Screen:
    """The login shell of a user with a plain prompt."""
    env = {"SHELL": shutil.which("bash"), "HOME": str(root), "PS1": PROMPT}
    (root / ".bashrc").write_text(f"PS1={PROMPT}\nunset PROMPT_COMMAND\n")
    (root / ".bash_profile").write_text("export FROM_PROFILE=yes\nPATH=/usr/bin:/bin\n")
    made = Screen(
        agent, shell=True, **{**fields, "env": {**env, **fields.get("env", {})}}
    )
    made.wait_for(PROMPT)
    return made


def test_it_is_a_terminal_of_that_size_and_kind(agent: Driven, python: str) -> None:
    script = "tty; stty size; echo $TERM; ps -o tpgid=,pgid= -p $$; exec 3</dev/tty"
    with Screen(agent, "sh", "-c", script) as screen:
        code, out, err = screen.finish()
        assert (code, err) == (0, b"")
        tty, size, term, groups = out.decode().split("\r\n")[:4]
        assert tty.startswith("/dev/")
        assert (size, term) == ("30 100", "xterm")
        if sys.platform == "linux":
            assert len(set(groups.split())) == 1  # in front, on a terminal of its own


def test_a_resize_is_told(agent: Driven, python: str) -> None:
    program = (
        "import os, signal\n"
        "change = {signal.SIGWINCH}\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, change)\n"
        "print('up', flush=True)\n"
        "while signal.sigwait(change):\n"
        "    print('now', tuple(os.get_terminal_size(0)), flush=True)"
    )
    with Screen(agent, python, "-c", program) as screen:
        screen.wait_for("up")
        screen.tell("resize", rows=12, cols=34)
        screen.wait_for(r"now \(34, 12\)")
        screen.tell("resize", rows=0, cols=1 << 40)  # nonsense, bounded
        screen.wait_for(r"now \(10000, 1\)")


def test_control_keys_are_the_terminals(agent: Driven, root: Path, python: str) -> None:
    with interactive(agent, root) as screen:
        screen.type("sh -c 'echo up; exec sleep 60'\n")
        screen.wait_for("[\r\n]up\r")
        screen.type("\x1a")
        screen.wait_for("Stopped")
        screen.type("fg\n")
        screen.wait_for("[\r\n]sh .*sleep 60'")
        screen.type("\x03")
        screen.wait_for(PROMPT)
        screen.type("echo code $?\n")
        screen.wait_for("code 130")
        screen.wait_for(PROMPT)
        screen.type("echo up; cat\n")
        screen.wait_for("[\r\n]up\r")
        screen.type("hello\n\x04")
        screen.wait_for("hello\r\nhello\r\n")
        screen.type("exit 7\n")
        assert screen.finish()[0] == 7


@pytest.mark.few
def test_the_end_of_input_is_ctrl_d(agent: Driven) -> None:
    with Screen(agent, "cat") as screen:
        screen.type("half a line")
        screen.tell("eof")
        code, out, _ = screen.finish()
        assert (code, out.count(b"half a line")) == (0, 2)


@pytest.mark.few
def test_the_shell_has_the_profile_and_our_variables(agent: Driven, root: Path) -> None:
    agent.put("sub/a", b"")
    env = {
        "PATH": "/ours/bin:/usr/bin",
        "LD_LIBRARY_PATH": "/ours/lib",
        "WANDB_MODE": "it's off",
    }
    with interactive(agent, root, env=env, cwd="sub") as screen:
        screen.type('echo "<$PATH>" "<$LD_LIBRARY_PATH>" "<$WANDB_MODE>"\n')
        path, libraries, mode = screen.wait_for("<(/.*)> <(.*)> <(.*)>\r").groups()
        assert path == "/ours/bin:/usr/bin:/bin"  # the last is the profile's
        assert (libraries, mode) == ("/ours/lib", "it's off")
        screen.type('echo "<$FROM_PROFILE>" "<$PWD>" "<$COLAB_DEVSYNC_ENTER>" $-\n')
        profile, cwd, rest, flags = screen.wait_for(
            "<(yes)> <(/.*)> <(.*)> (.*)\r"
        ).groups()
        assert (profile, cwd, rest) == ("yes", str(root / "sub"), "")
        assert {"i", "m"} <= set(flags)


@pytest.mark.few
@pytest.mark.parametrize("name", ["dash", "zsh", "fish", "tcsh"])
def test_other_shells_start_too(agent: Driven, root: Path, name: str) -> None:
    file = shutil.which(name)
    if file is None:
        pytest.skip(f"{name} is not on this machine")
    (root / ".zshrc").write_text("")  # else it would ask
    fields: dict[str, Any] = {"env": {"SHELL": file, "HOME": str(root), "WHO": "me"}}
    with Program(agent, shell=True, **fields) as program:
        program.tell("input", b"echo got-$WHO; pwd\nexit 5\n")
        program.tell("eof")
        code, out, _ = program.finish()
    assert (code, out.decode().split("\n")[:2]) == (5, ["got-me", str(root)])


@pytest.mark.few
def test_a_shell_without_a_terminal_reads_commands(agent: Driven, root: Path) -> None:
    env = {"SHELL": shutil.which("bash"), "HOME": str(root)}
    with Program(agent, shell=True, env=env) as program:
        program.tell("input", b"tty; echo $0; echo no >&2; exit 3\n")
        code, out, err = program.finish()
    assert (code, out.split(b"\n")[0], err) == (3, b"not a tty", b"no\n")


@pytest.mark.few
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"argv": ["no-such-command"]}, "no command no-such-command on the VM"),
        ({"argv": ["sh"], "cwd": "nowhere"}, "no folder .*nowhere on the VM"),
        ({"argv": ["/etc/passwd"]}, "cannot start /etc/passwd.*[Pp]ermission denied"),
        ({"argv": []}, "cannot start"),
        ({"argv": [5]}, "cannot start"),
        ({"argv": ["a\0b"]}, "null byte"),
        ({"shell": True, "env": {"SHELL": "/no/shell"}}, "no command the login shell"),
    ],
)
def test_what_cannot_start(agent: Driven, fields: dict[str, Any], words: str) -> None:
    with Program(agent, **{"tty": SIZE, **fields}) as program:
        assert program.first.meta["op"] == "failed"
        assert re.search(words, program.first.meta["message"])


@pytest.mark.few
def test_an_unknown_kind_of_terminal_becomes_a_common_one(
    agent: Driven, root: Path
) -> None:
    described = root / ".terminfo" / "x"
    described.mkdir(parents=True)
    (described / "xterm-256color").touch()
    fields: dict[str, Any] = {"env": {"HOME": str(root)}}
    for term, wanted in [("xterm-of-2050", "xterm-256color"), ("xterm", "xterm")]:
        (described / "xterm").touch()
        size = {**SIZE, "term": term}
        with Program(agent, "sh", "-c", "echo $TERM", tty=size, **fields) as program:
            assert program.finish()[1] == f"{wanted}\r\n".encode()


@pytest.mark.few
def test_hanging_up_ends_what_is_in_front(agent: Driven, root: Path) -> None:
    screen = interactive(agent, root)
    screen.type("trap '' HUP; sh -c 'echo pid $$; trap \"\" HUP TERM; sleep 60; :'\n")
    in_front = int(screen.wait_for(r"pid (\d+)\r").group(1))
    screen.hang_up()
    assert ended(in_front)
    assert ended(screen.pid)


@pytest.mark.few
@pytest.mark.parametrize("agent_ends_too", [False, True])
def test_a_shell_that_is_hung_up_keeps_its_history(
    agent: Driven, root: Path, agent_ends_too: bool
) -> None:
    screen = interactive(agent, root)
    screen.type(f"HISTFILE={root}/history; trap 'echo x > {root}/trapped' EXIT\n")
    screen.wait_for(PROMPT)
    screen.type("echo mark\n")
    screen.wait_for("[\r\n]mark\r")
    screen.wait_for(PROMPT)
    if agent_ends_too:
        agent.close()
    screen.hang_up()
    assert ended(screen.pid)
    assert "echo mark" in (root / "history").read_text()
    assert (root / "trapped").exists()


@pytest.mark.few
def test_nohup_in_the_background_lives_on(agent: Driven, root: Path) -> None:
    with interactive(agent, root) as screen:
        screen.type("nohup sleep 60 >/dev/null 2>&1 & echo pid $!\n")
        child = int(screen.wait_for(r"pid (\d+)\r").group(1))
        screen.type("exit\n")
        screen.finish()
    os.kill(child, 0)  # it is there
    os.kill(child, signal.SIGKILL)


@pytest.mark.few
def test_ctrl_c_stops_a_flood_at_once(agent: Driven, root: Path) -> None:
    with interactive(agent, root) as screen:
        screen.type("yes\n")
        for _ in range(50):
            screen.next()
        screen.type("\x03")
        wait_childless(screen.pid)  # nobody reads meanwhile
        rest = 0
        while PROMPT.encode() not in (data := screen.next().data):
            rest += len(data)
        assert rest < 256 << 10
        screen.type("echo alive\n")
        screen.wait_for("alive\r\n")


@pytest.mark.few
def test_unread_output_is_bounded(agent: Driven, python: str) -> None:
    """Not by the socket between: by what was acknowledged."""
    endless = "import os\nwhile True: os.write(1, bytes(4096))"
    with Program(agent, python, "-c", endless) as program:
        unacked = len(_what_comes(program.socket))
        program.socket.settimeout(2)
        while piece := _what_comes(program.socket):
            unacked += len(piece)
        assert 0 < unacked < 1 << 20


@pytest.mark.few
def test_signals_pass_by_input_that_is_not_read(agent: Driven) -> None:
    script = "trap 'exit 9' INT; echo up; while :; do sleep 60; done"
    with Program(agent, "sh", "-c", script) as running:
        assert running.next().data == b"up\n"
        running.tell("input", bytes(1_000_000))  # its pipe holds 64 kB
        running.tell("signal", name="INT")
        assert running.finish()[0] == 9


def _what_comes(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except TimeoutError:
        return b""


def test_credit_survives_acknowledgements_in_another_order() -> None:
    """Two pumps take in one order and send in the other."""
    credit = Credit(1 << 20)
    for first, second in [(10, 500), (500, 10)] * 1000:
        for size in (first, second):
            assert credit.room() > 0
            credit.sent(size)
        credit.give(second)
        credit.give(first)
    credit.close()
    assert credit.room() == 0
