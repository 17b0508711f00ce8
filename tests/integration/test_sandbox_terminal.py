"""The sandbox as an SSH server for people and their tools: OpenSSH's own clients."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import stat
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from colab_devsync.link.channel import SshChannel
from colab_devsync.link.sandbox.link import SandboxLink, SandboxSpec, ServerProcess
from tests.support.processes import wait_until_gone
from tests.support.remotes import never
from tests.support.streams import receive

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="the sandbox needs Linux or macOS"
)

TIMEOUT_S = 30


class Sandbox:
    """A server, and a configuration with which `HOST` means it."""

    HOST = "box"

    def __init__(self, folder: Path) -> None:
        self.process = ServerProcess(SandboxSpec(folder / "box"))
        self.vm = folder / "box" / "vm"
        self.config = folder / "ssh_config"
        self.config.write_text(
            f"Host {self.HOST}\n"
            f"  HostName 127.0.0.1\n  Port {self.process.port}\n  User ann\n"
            f"  IdentityFile {self.process.client_key}\n  IdentitiesOnly yes\n"
            "  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n"
            "  LogLevel ERROR\n  BatchMode yes\n"
        )

    def argv(self, tool: str, *arguments: str) -> list[str]:
        return [tool, "-F", str(self.config), *arguments]

    def run(
        self, argv: Sequence[str], stdin: str = "", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env={**os.environ, **(env or {})},
            check=False,
        )

    def ssh(self, *arguments: str, stdin: str = "") -> str:
        done = self.run(self.argv("ssh", *arguments), stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def sftp(self, *lines: str) -> str:
        script = "\n".join(lines)
        done = self.run(self.argv("sftp", "-b", "-", self.HOST), script)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    sandbox = Sandbox(tmp_path)
    yield sandbox
    sandbox.process.stop()


class Terminal:
    """ssh at a terminal of its own, of 80 columns and 24 rows."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._fd, theirs = pty.openpty()
        self.resize(80, 24)
        self.process = subprocess.Popen(
            argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        self.text = ""

    def resize(self, columns: int, rows: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, size)

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def read_until(self, pattern: str) -> re.Match[str]:
        while not (found := re.search(pattern, self.text)):
            assert self._read(), f"no {pattern!r} in {self.text!r}"
        self.text = self.text[found.end() :]
        return found

    def end(self) -> int:
        while self._read():
            pass
        os.close(self._fd)
        return self.process.wait(TIMEOUT_S)

    def _read(self) -> bool:
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # Linux: the other side has closed
            return False
        self.text += data.decode()
        return bool(data)


@pytest.fixture
def terminal(sandbox: Sandbox) -> Iterator[Terminal]:
    """A shell, its prompt read."""
    terminal = Terminal(sandbox.argv("ssh", sandbox.HOST))
    terminal.type("PS1='>>''> '\n")
    terminal.read_until(">>> $")
    yield terminal
    terminal.process.kill()
    terminal.process.wait()


def test_a_shell_has_a_terminal_of_the_right_size(
    sandbox: Sandbox, terminal: Terminal
) -> None:
    terminal.type("pwd; stty size; tty; echo $TERM $SSH_TTY\n")
    terminal.read_until(re.escape(str(sandbox.vm)))
    terminal.read_until(r"\b24 80\b")
    name = terminal.read_until(r"/dev/\S+")[0]
    terminal.read_until(re.escape(f"{os.environ.get('TERM', 'dumb')} {name}"))
    terminal.type("exit 3\n")
    assert terminal.end() == 3


def test_a_resized_window_is_passed_on(terminal: Terminal) -> None:
    terminal.type("trap 'stty size' WINCH; echo rea''dy\n")
    terminal.read_until("ready")
    terminal.resize(132, 50)
    os.kill(terminal.process.pid, signal.SIGWINCH)
    # bash runs a trap at the prompt only after a key
    terminal.type("\n")
    terminal.read_until(r"\b50 132\b")


def test_ctrl_c_interrupts_the_program_and_not_the_shell(terminal: Terminal) -> None:
    terminal.type("sh -c 'echo rea\"\"dy; exec sleep 60'\n")
    terminal.read_until("ready")
    terminal.type("\x03")
    terminal.read_until(">>> $")
    terminal.type("echo code $?\n")
    terminal.read_until("code 130")


def test_a_terminal_that_goes_away_hangs_its_programs_up(terminal: Terminal) -> None:
    terminal.type("sh -c 'echo pid $$; exec sleep 60'\n")
    pid = int(terminal.read_until(r"pid (\d+)")[1])
    terminal.process.kill()
    wait_until_gone(pid)


def test_a_terminal_can_be_forced_on_a_command(sandbox: Sandbox) -> None:
    host = sandbox.HOST
    assert sandbox.ssh("-tt", host, "test -t 0 && echo a terminal") == "a terminal\n"
    assert sandbox.ssh(host, "test -t 0 || echo no terminal") == "no terminal\n"
    failed = sandbox.run(sandbox.argv("ssh", "-tt", host, "echo out; exit 5"))
    assert (failed.returncode, failed.stdout) == (5, "out\n")


def test_what_stays_behind_does_not_hold_a_terminal_open(sandbox: Sandbox) -> None:
    command = "trap '' HUP; sleep 60 & echo started $!"
    text = sandbox.ssh("-tt", sandbox.HOST, command)
    os.kill(int(text.split()[1]), signal.SIGKILL)


def test_signals_reach_the_program(tmp_path: Path) -> None:
    link = SandboxLink(SandboxSpec(tmp_path))
    try:
        stream = link.connect(never, 30).exec(
            "trap 'echo got it; exit 9' USR1; echo up; while :; do sleep 0.05; done"
        )
        assert isinstance(stream, SshChannel)
        assert receive(stream, 3) == b"up\n"
        for name in (b"NONSENSE", b"USR1"):
            stream.request(b"signal", struct.pack(">I", len(name)) + name)
        assert receive(stream, 7) == b"got it\n"
        assert stream.exit_status(30) == 9
    finally:
        link.close()


def test_all_output_of_a_terminal_arrives(sandbox: Sandbox) -> None:
    text = sandbox.ssh("-tt", sandbox.HOST, "seq 100000")
    assert text.split() == [str(number) for number in range(1, 100_001)]


def test_a_shell_without_a_terminal_reads_a_script(sandbox: Sandbox) -> None:
    text = sandbox.ssh("-T", sandbox.HOST, stdin="pwd\necho $((6 * 7))\n")
    assert text == f"{sandbox.vm}\n42\n"


def test_only_the_language_is_taken_from_the_client(sandbox: Sandbox) -> None:
    option = "-oSetEnv=LC_TEST=xx LD_PRELOAD=/x LANG=yy"
    text = sandbox.ssh(option, sandbox.HOST, 'echo "$LC_TEST,$LD_PRELOAD,$LANG"')
    assert text == "xx,,yy\n"


def test_programs_know_where_they_were_reached(sandbox: Sandbox) -> None:
    words = sandbox.ssh(sandbox.HOST, "echo $SSH_CONNECTION").split()
    assert words[0] == words[2] == "127.0.0.1"
    assert int(words[3]) == sandbox.process.port


def test_the_listener_is_told_even_behind_a_simulated_tunnel(tmp_path: Path) -> None:
    process = ServerProcess(SandboxSpec(tmp_path, rtt_ms=1))
    try:
        argv = ["ssh", "-F", "none", "-p", str(process.port), "-oBatchMode=yes"]
        argv += ["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null"]
        argv += ["-i", str(process.client_key), "127.0.0.1", "echo $SSH_CONNECTION"]
        done = subprocess.run(argv, capture_output=True, timeout=TIMEOUT_S, check=True)
        assert int(done.stdout.split()[3]) != process.port
    finally:
        process.stop()


# --- files ------------------------------------------------------------------------


def test_scp_copies_both_ways(sandbox: Sandbox, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    source = tmp_path / "a b.bin"
    source.write_bytes(data)
    source.chmod(0o640)
    os.utime(source, (1_600_000_000, 1_600_000_001))
    for options in ([], ["-O"]):
        name = f"there{len(options)}.bin"
        to = [*options, "-p", str(source), f"{sandbox.HOST}:{name}"]
        done = sandbox.run(sandbox.argv("scp", *to))
        assert done.returncode == 0, done.stderr
        info = (sandbox.vm / name).stat()
        assert (sandbox.vm / name).read_bytes() == data
        assert (stat.S_IMODE(info.st_mode), info.st_mtime) == (0o640, 1_600_000_001)
        back = tmp_path / name
        absolute = f"{sandbox.HOST}:{sandbox.vm / name}"
        done = sandbox.run(sandbox.argv("scp", *options, absolute, str(back)))
        assert done.returncode == 0, done.stderr
        assert back.read_bytes() == data


def test_scp_copies_a_tree(sandbox: Sandbox, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "deep" / "er").mkdir(parents=True)
    for number in range(40):  # more than one answer of the server's listing
        (tree / "deep" / f"f{number}").write_text(str(number))
    (tree / "deep" / "er" / "ünï").write_text("x")
    argv = sandbox.argv("scp", "-r", str(tree), f"{sandbox.HOST}:copy")
    assert sandbox.run(argv).returncode == 0
    back = sandbox.argv("scp", "-r", f"{sandbox.HOST}:copy", str(tmp_path / "back"))
    assert sandbox.run(back).returncode == 0
    same = subprocess.run(["diff", "-r", tree, tmp_path / "back"], check=False)
    assert same.returncode == 0


def test_sftp_does_what_a_file_browser_does(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("1\n")
    (sandbox.vm / "no\udc80utf8").write_text("named in another encoding\n")
    text = sandbox.sftp(
        "pwd",
        "mkdir sub",
        f"put '{tmp_path}/one' sub/one",
        "rename sub/one sub/two",
        "symlink two sub/link",
        "chmod 600 sub/two",
        "ls -1 sub",
        "ls -1",
        f"get sub/link '{tmp_path}/got'",
        "rm sub/link",
        "rm sub/two",
        "rmdir sub",
    )
    assert f"Remote working directory: {sandbox.vm}" in text
    assert re.search(r"^sub/link\s*\nsub/two\s*$", text, re.M)
    assert (tmp_path / "got").read_text() == "1\n"
    assert not (sandbox.vm / "sub").exists()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("get missing", "not found"),
        ("mkdir taken", "Failure"),
        ("rename taken other", "Failure"),
        ("rm nothing/here", "No such file"),
        ("put /etc/hostname taken/x/y", "No such file"),
    ],
)
def test_what_sftp_cannot_do_is_said(sandbox: Sandbox, line: str, words: str) -> None:
    (sandbox.vm / "taken").mkdir()
    (sandbox.vm / "other").mkdir()
    done = sandbox.run(sandbox.argv("sftp", "-b", "-", sandbox.HOST), line)
    assert done.returncode == 1
    assert words in done.stderr


def test_sftp_resumes_and_truncates(sandbox: Sandbox, tmp_path: Path) -> None:
    whole = os.urandom(1_000_000)
    (tmp_path / "f").write_bytes(whole)
    (sandbox.vm / "f").write_bytes(whole[:400_000])
    sandbox.sftp(f"reput '{tmp_path}/f' f")
    assert (sandbox.vm / "f").read_bytes() == whole
    (tmp_path / "f").write_bytes(b"short")
    sandbox.sftp(f"put '{tmp_path}/f' f")
    assert (sandbox.vm / "f").read_bytes() == b"short"


def test_rsync_copies_and_deletes(sandbox: Sandbox, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(50):
        (tree / f"f{number}").write_bytes(os.urandom(10_000))
    shell = f"ssh -F {sandbox.config}"
    argv = ["rsync", "-a", "-e", shell, f"{tree}/", f"{sandbox.HOST}:copy/"]
    done = sandbox.run(argv)
    assert done.returncode == 0, done.stderr
    (tree / "f7").unlink()
    (tree / "f8").write_bytes(b"changed")
    done = sandbox.run([*argv[:2], "--delete", *argv[2:]])
    assert done.returncode == 0, done.stderr
    there = sandbox.vm / "copy"
    assert {p.name: p.read_bytes() for p in there.iterdir()} == {
        p.name: p.read_bytes() for p in tree.iterdir()
    }


def test_other_subsystems_are_refused(sandbox: Sandbox) -> None:
    done = sandbox.run(sandbox.argv("ssh", "-s", sandbox.HOST, "netconf"))
    assert done.returncode == 255
    assert "subsystem request failed" in done.stderr
