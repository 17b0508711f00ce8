"""Programs in front: their bytes, their ends, and nothing left of them."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from colab_devsync.agent import wire
from tests.agent.driver import PATIENCE_S, Driven
from tests.agent.program import Program, ended, shell

pytestmark = pytest.mark.few


def test_output_is_exact_and_apart(agent: Driven, python: str) -> None:
    program = (
        "import os; os.write(1, bytes(range(256)) * 999); os.write(2, b'e\\0\\r\\n')"
    )
    with Program(agent, python, "-c", program) as running:
        assert running.finish() == (0, bytes(range(256)) * 999, b"e\0\r\n")


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 41", 41), ("kill -9 $$", 137), ("kill -INT $$", 130)],
)
def test_exit_codes_and_signals(agent: Driven, script: str, code: int) -> None:
    with shell(agent, script) as program:
        assert program.finish() == (code, b"", b"")


def test_input_and_its_end(agent: Driven) -> None:
    data = os.urandom(400_000)
    with Program(agent, "cat") as program:
        program.tell("input", data[:100_000])
        echoed = bytearray()
        while len(echoed) < 100_000:
            echoed += program.next().data
        program.tell("input", data[100_000:])
        program.tell("eof")
        code, rest, _ = program.finish()
        assert (code, bytes(echoed) + rest) == (0, data)


def test_input_nobody_wants_is_dropped(agent: Driven) -> None:
    with shell(agent, "exec 0<&-; echo up; read x < /dev/null; exit 3") as program:
        program.tell("input", bytes(1_000_000))
        program.tell("eof")
        assert program.finish()[0] == 3


def test_input_after_its_end_is_dropped(agent: Driven) -> None:
    with Program(agent, "cat") as program:
        program.tell("input", b"a")
        program.tell("eof")
        program.tell("input", bytes(1_000_000))
        program.tell("eof")
        assert program.finish() == (0, b"a", b"")


def test_folder_and_environment(agent: Driven, root: Path) -> None:
    agent.put("sub/a", b"")
    fields = {"cwd": "sub", "env": {"WANDB_MODE": "offline"}}
    with shell(agent, "pwd; echo $WANDB_MODE; echo $PATH", **fields) as program:
        out = program.finish()[1].decode().split("\n")
    assert out == [str(root / "sub"), "offline", os.environ["PATH"], ""]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"argv": ["no-such-command"]}, "no command no-such-command on the VM"),
        ({"argv": ["sh"], "cwd": "nowhere"}, "no folder .*nowhere on the VM"),
        ({"argv": ["/etc/passwd"]}, "cannot start /etc/passwd.*[Pp]ermission denied"),
        ({"argv": []}, "cannot start"),
        ({"argv": None}, "cannot start"),
        ({"argv": [5]}, "cannot start"),
        ({"argv": ["a\0b"]}, "null byte"),
        ({"argv": ["sh"], "env": {"A": None}}, "cannot start sh"),
    ],
)
def test_what_cannot_start(agent: Driven, fields: dict[str, Any], words: str) -> None:
    with Program(agent, **fields) as program:
        assert program.first.meta["op"] == "failed"
        assert re.search(words, program.first.meta["message"])


def test_a_signal_reaches_the_group(agent: Driven) -> None:
    with shell(agent, "trap 'exit 7' INT; echo up; sh -c 'sleep 60; :'") as program:
        assert program.next().data == b"up\n"
        program.tell("signal", name="NONSENSE")
        program.tell("signal", name="INT")
        assert program.finish()[0] == 7


def test_hanging_up_ends_the_whole_group(agent: Driven) -> None:
    script = "trap '' HUP TERM INT; sleep 60 & echo $!; wait; sleep 60"
    program = shell(agent, script)
    child = int(program.next().data)
    program.hang_up()
    assert ended(child)
    assert ended(program.pid)


def test_what_left_the_group_lives_on(agent: Driven, python: str) -> None:
    escaping = (
        "import os, sys\n"
        "if os.fork(): sys.exit()\n"
        "os.setsid(); print(os.getpid(), flush=True)\n"
        "[os.close(fd) for fd in (0, 1, 2)]\n"
        "import time; time.sleep(60)"
    )
    with Program(agent, python, "-c", escaping) as program:
        code, out, _ = program.finish()
    assert code == 0
    agent.close()
    os.kill(int(out), 0)  # it is there
    os.kill(int(out), signal.SIGKILL)


def test_when_the_agent_ends_so_do_its_programs(agent: Driven) -> None:
    with shell(agent, "sleep 60 & echo $!; wait") as program:
        child = int(program.next().data)
        agent.close()
        assert ended(child)
        assert ended(program.pid)


def test_hanging_up_on_a_program_that_does_not_read(agent: Driven) -> None:
    program = shell(agent, "echo up; exec sleep 60")
    assert program.next().data == b"up\n"
    program.tell("input", bytes(300_000))  # more than its pipe holds
    program.hang_up()
    assert ended(program.pid)


def test_a_slow_reader_loses_nothing(agent: Driven, python: str) -> None:
    """The program ends long before its output is taken."""
    size = 30_000_000
    script = (
        f"import os; [os.write(1, bytes(100000)) for _ in range({size // 100_000})]"
    )
    with Program(agent, python, "-c", script + "; os.write(2, b'end')") as program:
        first = program.next()
        code, out, err = program.finish()
    assert (code, len(first.data) + len(out), err) == (0, size, b"end")


def test_output_nobody_reads_stays_in_the_program(agent: Driven, python: str) -> None:
    def memory_kib() -> int:
        status = Path(f"/proc/{agent.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc to see the agent's memory in")
    endless = "import os\nwhile True: os.write(1, bytes(1 << 20))"
    before = memory_kib()
    with Program(agent, python, "-c", endless) as program:
        for _ in range(200):  # 12 MB are taken, then nobody reads
            program.next()
        blocked = Path(f"/proc/{program.pid}/wchan")
        until = time.monotonic() + PATIENCE_S
        while "pipe" not in blocked.read_text() and time.monotonic() < until:
            os.sched_yield()
        assert memory_kib() < before + 8_000
        assert agent.put("a", b"") == wire.OK  # and the agent has time for others


def test_a_grandchild_that_keeps_the_pipe_does_not_hold_up_the_exit(
    agent: Driven, python: str
) -> None:
    script = "(setsid sleep 30 & echo $!) ; exit 5"
    with shell(agent, script) as program:
        code, out, _ = program.finish()
    assert code == 5
    os.kill(int(out), signal.SIGKILL)
