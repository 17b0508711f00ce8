"""Runs on every interpreter: the keeper, its files, and whom it outlives."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from colab_devsync.agent import wire
from colab_devsync.agent.keepers import is_locked
from colab_devsync.agent.runs import KEPT
from tests.agent.conftest import Start
from tests.agent.driver import PATIENCE_S, Driven
from tests.agent.test_agent_disks import Wrap, fill, mounted, seen_by
from tests.agent.test_agent_programs import ended
from tests.support.run_output import end_runs, until

__all__ = ["mounted"]  # a fixture


class Client:
    """The client's end of one run's stream. Acknowledges what it reads."""

    def __init__(self, agent: Driven, op: str, **fields: Any) -> None:
        address = ("127.0.0.1", agent.hello.bulk_port)
        self.socket = socket.create_connection(address, PATIENCE_S)
        self.socket.settimeout(PATIENCE_S)
        self._reader = self.socket.makefile("rb")
        self.socket.sendall(bytes.fromhex(agent.tokens.pop()))
        self.tell(op, **fields)
        self.offsets: dict[str, int] = fields.get("offsets") or {}
        self.streams = {1: bytearray(), 2: bytearray()}
        self.first = self.next().meta

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        self._reader.close()
        self.socket.close()

    def tell(self, op: str, **fields: Any) -> None:
        self.socket.sendall(wire.encode(0, {"op": op, **fields}))

    def next(self) -> wire.Frame:
        assert isinstance(self._reader, io.BufferedReader)
        frame = wire.read_frame(self._reader)
        assert frame is not None
        if frame.meta["op"] == "output":
            had = self.streams[frame.meta["stream"]]
            assert frame.meta["offset"] == self.base(frame.meta["stream"]) + len(had)
            had += frame.data
            self.tell("ack", bytes=len(frame.data))
        return frame

    def base(self, stream: int) -> int:
        return int(self.offsets.get({1: "stdout", 2: "stderr"}[stream], 0))

    @property
    def run(self) -> dict[str, Any]:
        assert self.first["op"] == "started", self.first
        return dict(self.first["run"])

    def wait_for(self, text: bytes, stream: int = 1) -> None:
        while text not in self.streams[stream]:
            assert self.next().meta["op"] != "exit", self.streams

    def until(self, op: str) -> dict[str, Any]:
        while (frame := self.next()).meta["op"] != op:
            pass
        return frame.meta

    def finish(self) -> tuple[dict[str, Any], bytes, bytes]:
        info = dict(self.until("exit")["run"])
        return info, bytes(self.streams[1]), bytes(self.streams[2])


def run(agent: Driven, *argv: str, **fields: Any) -> Client:
    fields.setdefault("nonce", os.urandom(8).hex())
    return Client(agent, "run", **{"name": "job", "argv": list(argv), **fields})


def shell(agent: Driven, script: str, **fields: Any) -> Client:
    return run(agent, "sh", "-c", script, **fields)


def attach(agent: Driven, run_id: str, **fields: Any) -> Client:
    return Client(agent, "attach", run=run_id, **fields)


def folder(root: Path, run_id: str) -> Path:
    return root / ".colab-devsync" / "runs" / run_id


def keeper_of(root: Path, run_id: str) -> int:
    return int(json.loads((folder(root, run_id) / "spec.json").read_text())["keeper"])


@pytest.fixture(autouse=True)
def nothing_left(root: Path) -> Iterator[None]:
    """Ends what a failed test left running."""
    yield
    end_runs(root)


# --- starting and following -------------------------------------------------------


def test_a_run_and_what_is_told_of_it(agent: Driven, root: Path, python: str) -> None:
    program = "import os; os.write(1, bytes(range(256)) * 999); os.write(2, b'e\\0')"
    argv = [python, "-c", program]
    with run(agent, *argv, kind="debug", env={"A": "1"}) as client:
        assert client.run["run"] == "job-1"
        info, out, err = client.finish()
    assert (out, err) == (bytes(range(256)) * 999, b"e\0")
    assert (info["state"], info["code"], info["signal"]) == ("exited", 0, None)
    assert (info["kind"], info["argv"], info["cwd"]) == ("debug", argv, str(root))
    assert (info["stdout"], info["stderr"]) == (len(out), 2)
    assert info["started"] <= info["ended"]
    assert agent.ask("runs")["runs"] == [info]
    names = {"spec.json", "stdout", "stderr", "status.json", "lock"}
    assert set(os.listdir(folder(root, "job-1"))) == names
    assert "A" not in (folder(root, "job-1") / "spec.json").read_text()


def test_the_program_gets_a_clean_start(agent: Driven, python: str, root: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "print(sorted(os.listdir('/dev/fd'))[:4], sys.stdin.read() == '')\n"
        "print(os.getsid(0) == os.getpid() == os.getpgid(0), os.getcwd())\n"
        "print([signal.getsignal(n) for n in (1, 13, 15, 17)].count(0),\n"
        "      signal.getsignal(2) is signal.default_int_handler,\n"
        "      os.environ['PYTHONUNBUFFERED'], signal.pthread_sigmask(0, []))\n"
    )
    # The fourth is the one that lists.
    with run(agent, python, "-S", "-c", program, env={"PYTHONPATH": "x"}) as client:
        _, out, err = client.finish()
    lines = out.decode().splitlines()
    assert lines[0] == "['0', '1', '2', '3'] True", err
    assert lines[1] == f"True {os.path.realpath(root)}"
    # Python itself ignores the broken pipe.
    assert lines[2] == "3 True 1 set()"


@pytest.mark.parametrize(
    ("script", "code", "name"),
    [
        ("exit 41", 41, None),
        ("kill -9 $$", 137, "SIGKILL"),
        ("kill -INT $$", 130, "SIGINT"),
    ],
)
@pytest.mark.few
def test_exit_codes_and_signals(
    agent: Driven, script: str, code: int, name: str | None
) -> None:
    with shell(agent, script) as client:
        info = client.finish()[0]
    assert (info["code"], info["signal"]) == (code, name)
    assert ("memory is full" in (info["message"] or "")) == (name == "SIGKILL")


def test_a_run_outlives_its_agent_and_is_read_from_any_offset(
    start: Start, root: Path
) -> None:
    os.makedirs(root)
    os.mkfifo(root / "go")
    first = start()
    with shell(first, "echo one; cat go; echo two >&2; exit 3") as client:
        client.wait_for(b"one\n")
        first.kill()
        second = start()
        [info] = second.ask("runs")["runs"]
        assert info == {**client.run, "stdout": 4}
    with attach(second, "job-1", offsets={"stdout": 2}) as late:
        assert late.run["state"] == "running"
        (root / "go").write_bytes(b"more\n")
        info, out, err = late.finish()
    assert (info["state"], info["code"]) == ("exited", 3)
    assert (out, err) == (b"e\nmore\n", b"two\n")


def test_the_same_nonce_is_the_same_run(start: Start, root: Path) -> None:
    os.makedirs(root)
    os.mkfifo(root / "go")
    first = start()
    with shell(first, "echo up; cat go", nonce="n") as client:
        client.wait_for(b"up\n")
        with shell(first, "echo up; cat go", nonce="n") as again:
            assert again.run["pid"] == client.run["pid"]
    first.kill()
    second = start()
    with shell(second, "echo up; cat go", nonce="n") as again:
        assert again.run["pid"] == client.run["pid"]
        again.wait_for(b"up\n")
        with shell(second, "exit", nonce="m", after=7) as other:
            assert other.run["run"] == "job-8"
        (root / "go").write_bytes(b"")
        assert again.finish()[0]["code"] == 0
    with shell(second, "echo up; cat go", nonce="n") as again:
        assert again.run["state"] == "exited"


# The agent dies just before its keeper runs, or just after it has been told all.
_DIES = """\
import os, signal
keepers = __import__(PACKAGE + ".keepers", fromlist=["x"])
def dying(function):
    def wrapped(*args):
        {before}
        function(*args)
        os.kill(os.getpid(), signal.SIGKILL)
    return wrapped
keepers.{name} = dying(keepers.{name})
"""


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("_answer", ""),
        ("_told", ""),
        ("_told", "os.kill(os.getpid(), signal.SIGKILL)"),
    ],
)
@pytest.mark.few
def test_an_agent_that_dies_while_starting_is_asked_again(
    start: Start, name: str, before: str
) -> None:
    first = start(fault=_DIES.format(name=name, before=before))
    address = ("127.0.0.1", first.hello.bulk_port)
    with socket.create_connection(address, PATIENCE_S) as connection:
        connection.sendall(bytes.fromhex(first.tokens.pop()))
        ask = {
            "op": "run",
            "name": "job",
            "argv": ["sh", "-c", "echo $$"],
            "nonce": "n",
        }
        connection.sendall(wire.encode(0, ask))
        assert first.died() == -signal.SIGKILL
    second = start()
    with shell(second, "echo $$", nonce="n") as client:
        info, out, _ = client.finish()
    assert out.decode() == f"{info['pid']}\n"
    assert [one["run"] for one in second.ask("runs")["runs"]] == ["job-1"]


def test_logs_end_where_the_run_is(agent: Driven, root: Path) -> None:
    os.mkfifo(root / "go")
    with shell(agent, "echo one; cat go") as client:
        client.wait_for(b"one\n")
        with attach(agent, "job-1", follow=False) as logs:
            info, out, _ = logs.finish()
        assert (info["state"], out) == ("running", b"one\n")
        agent.ask("stop", run="job-1", kill=True)
        assert client.finish()[0]["signal"] == "SIGKILL"


def test_what_others_print_later_is_not_waited_for(
    agent: Driven, root: Path, python: str
) -> None:
    script = f"setsid {python} -c 'while 1: print(1, flush=True)' & echo $!; exit 5"
    with shell(agent, script) as client:
        info, out, _ = client.finish()
    os.kill(int(out.split()[0]), signal.SIGKILL)
    assert (info["code"], info["stdout"]) == (5, len(out))


# --- the keeper that is ready -----------------------------------------------------


def ready_keeper(root: Path) -> Path:
    """The lock file of the keeper that waits for something to start."""
    found: list[Path] = []

    def look() -> bool:
        found[:] = (root / ".colab-devsync").glob("keeper-*")
        return bool(found) and is_locked(str(found[0]))

    until(look, "a keeper waits")
    return found[0]


def test_a_run_takes_the_keeper_that_waits(agent: Driven, root: Path) -> None:
    waiting = ready_keeper(root).stat().st_ino
    with shell(agent, "echo up") as client:
        assert (folder(root, "job-1") / "lock").stat().st_ino == waiting
        assert client.finish()[1] == b"up\n"
    assert ready_keeper(root).stat().st_ino != waiting


def test_the_keeper_that_waits_ends_with_its_agent(start: Start, root: Path) -> None:
    first = start()
    waiting = ready_keeper(root)
    first.kill()
    until(lambda: not is_locked(str(waiting)), "the keeper ends")
    start()
    assert not waiting.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="finds it in /proc")
@pytest.mark.few
def test_a_keeper_that_was_killed_while_it_waited(agent: Driven, root: Path) -> None:
    waiting = ready_keeper(root)
    agent_pid = int(waiting.name.split("-")[1])

    def is_gone() -> bool:
        """It is two processes for a moment, and the first makes the second."""
        found = holders(waiting) - {agent_pid}
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not found

    until(is_gone, "it has gone")
    with shell(agent, "echo up") as client:
        assert client.finish()[1] == b"up\n"


def holders(path: Path) -> set[int]:
    """The processes that have this file open."""
    found = set()
    for fd in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(fd) == str(path):
                found.add(int(fd.parts[2]))
    return found


# --- what cannot start ------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"argv": ["no-such-command"]}, "no command no-such-command on the VM"),
        ({"argv": ["~/no-such"]}, "no command /.*/no-such on the VM"),
        ({"argv": ["sh"], "wait_port": {"pattern": "("}}, "cannot wait for a port"),
        ({"argv": ["sh"], "cwd": "nowhere"}, "no folder /.*/nowhere on the VM"),
        ({"argv": ["sh"], "file": "/no/file.py"}, "no file /no/file.py on the VM"),
        ({"argv": ["/etc/passwd"]}, "cannot start /etc/passwd .*[Pp]ermission denied"),
        ({"argv": ["./text"]}, "cannot start ./text .*not a program"),
        ({"argv": []}, "nothing to start"),
        ({"argv": None}, "nothing to start"),
        ({"argv": [5]}, "not an argument"),
        ({"argv": ["a\0b"]}, "not an argument"),
        ({"argv": ["sh"], "env": {"A": None}}, "not an argument"),
        ({"argv": ["sh"], "name": "../../x"}, "cannot be called"),
        ({"argv": ["sh"], "env": {"A": "x" * 200_000}}, "[Aa]rgument list too long"),
    ],
)
@pytest.mark.few
def test_what_cannot_start(
    agent: Driven, root: Path, fields: dict[str, Any], words: str
) -> None:
    (root / "text").write_text("hello\n")
    (root / "text").chmod(0o755)
    with Client(agent, "run", **{"name": "job", "nonce": "n", **fields}) as client:
        assert client.first["op"] == "failed"
        assert re.search(words, client.first["message"])
    runs = root / ".colab-devsync" / "runs"
    assert not runs.exists() or os.listdir(runs) in ([], ["lock"])
    assert agent.ask("runs")["runs"] == []


@pytest.mark.parametrize("name", ["job-1", "../runs/job-1", "", None, 5, "lock", "-1"])
@pytest.mark.few
def test_an_unknown_run(agent: Driven, name: Any) -> None:
    with attach(agent, name) as client:
        assert (client.first["op"], client.first["unknown"]) == ("failed", True)
    assert "no run" in agent.ask("stop", run=name)["unknown"]


@pytest.mark.few
def test_a_full_disk_starts_nothing(root: Path, mounted: Wrap) -> None:
    root.mkdir()
    with Driven(root, mounted(f"mount -t tmpfs -o size=64k none {root}")) as agent:
        filler = seen_by(agent) / "filler"
        fill(filler)
        with shell(agent, "echo up; sleep 60") as client:
            assert client.first["op"] == "failed"
            assert "the VM's disk is full" in client.first["message"]
        assert agent.ask("runs")["runs"] == []
        filler.unlink()
        with shell(agent, "echo up") as client:
            assert client.finish()[1] == b"up\n"


@pytest.mark.few
def test_a_disk_that_is_full_by_the_end_does_not_hide_it(
    root: Path, mounted: Wrap
) -> None:
    root.mkdir()
    with Driven(root, mounted(f"mount -t tmpfs -o size=256k none {root}")) as agent:
        os.mkfifo(seen_by(agent) / "go")
        with shell(agent, "echo up; cat go; exit 6") as client:
            client.wait_for(b"up\n")
            fill(seen_by(agent) / "filler")
            (seen_by(agent) / "go").write_bytes(b"")
            assert client.finish()[0]["code"] == 6
        (seen_by(agent) / "filler").unlink()
        with shell(agent, "echo up; cat go") as client:
            client.wait_for(b"up\n")
            fill(seen_by(agent) / "filler")
            agent.ask("stop", run="job-2", kill=True)
            assert client.finish()[0]["signal"] == "SIGKILL"


# --- stopping ---------------------------------------------------------------------

_STUBBORN = (
    "trap 'echo INT' INT; trap 'echo TERM' TERM; echo up; while :; do read x < go; done"
)


@pytest.mark.few
def test_stop_escalates_to_the_whole_group(
    agent: Driven, root: Path, python: str
) -> None:
    """The leader gives up at TERM; its child ignores all but KILL."""
    os.mkfifo(root / "go")
    child = f"trap '' INT TERM; echo child $$; while :; do read x < {root}/go; done"
    script = f"trap 'echo INT' INT; trap 'exit 9' TERM; sh -c \"{child}\" & wait; wait"
    script = script.replace("$$", "\\$\\$")
    with shell(agent, script) as client:
        client.wait_for(b"\n")
        pid = int(client.streams[1].split()[1])
        answer = agent.ask("stop", run="job-1", grace_s=[1, 2], wait_s=0.01)
        assert answer["run"]["state"] == "running"
        info, out, _ = client.finish()
    assert (info["code"], out.split()[2:]) == (9, [b"INT"])
    assert ended(pid)


@pytest.mark.few
def test_a_program_that_ignores_everything_is_killed(agent: Driven, root: Path) -> None:
    os.mkfifo(root / "go")
    with shell(agent, _STUBBORN) as client:
        client.wait_for(b"up\n")
        agent.ask("stop", run="job-1", grace_s=[1, 1])
        info, out, _ = client.finish()
    assert (info["signal"], info["message"]) == ("SIGKILL", None)
    assert out == b"up\nINT\nTERM\n"


@pytest.mark.few
def test_a_second_stop_may_kill_at_once(agent: Driven, root: Path) -> None:
    os.mkfifo(root / "go")
    with shell(agent, _STUBBORN) as client:
        client.wait_for(b"up\n")
        agent.ask("stop", run="job-1", grace_s=[60, 60])
        client.wait_for(b"INT\n")
        answer = agent.ask("stop", run="job-1", kill=True, wait_s=PATIENCE_S)
        assert answer["run"]["signal"] == "SIGKILL"
        assert client.finish()[1] == b"up\nINT\n"


@pytest.mark.few
def test_stop_waits_for_what_the_child_still_saves(
    agent: Driven, root: Path, python: str
) -> None:
    """The shell ends at once, its child takes a moment: it gets that moment."""
    os.mkfifo(root / "go")
    (root / "child.py").write_text(
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "print('up', flush=True)\n"
        "try: signal.pause()\n"
        "except KeyboardInterrupt: print('saved', open('go').read())\n"
    )
    script = f"{python} child.py & trap 'exit 1' INT; while :; do wait; done"
    with shell(agent, script) as client:
        client.wait_for(b"up\n")
        agent.ask("stop", run="job-1", grace_s=[60, 60])
        (root / "go").write_bytes(b"x")
        info, out, _ = client.finish()
    assert (info["code"], out) == (1, b"up\nsaved x\n")


def test_a_run_whose_keeper_died_is_lost(agent: Driven, root: Path) -> None:
    with shell(agent, "echo up; exec sleep 60") as client:
        client.wait_for(b"up\n")
        os.kill(keeper_of(root, "job-1"), signal.SIGKILL)
        info, out, _ = client.finish()
        assert (info["state"], out) == ("lost", b"up\n")
        assert "restarted" in info["message"]
    assert agent.ask("stop", run="job-1")["run"]["state"] == "lost"
    os.killpg(client.run["pid"], signal.SIGKILL)


# --- ports ------------------------------------------------------------------------


def test_a_port_is_told_once_known_and_later(agent: Driven, root: Path) -> None:
    os.mkfifo(root / "go")
    os.mkfifo(root / "never")
    wait_port = {"pattern": "at port (\\d+)", "limit_s": 60}
    script = "echo up; read x < go; echo at port 4711 >&2; cat never"
    with shell(agent, script, wait_port=wait_port) as client:
        client.wait_for(b"up\n")
        (root / "go").write_bytes(b"\n")
        assert client.until("ready")["port"] == 4711
        with attach(agent, "job-1") as late:
            assert late.run["port"] == 4711
            assert late.until("ready")["port"] == 4711
        agent.ask("stop", run="job-1", kill=True)
        assert client.finish()[0]["port"] == 4711


@pytest.mark.few
def test_no_port_in_time_may_end_the_program(agent: Driven) -> None:
    wait_port = {"file": "port.txt", "limit_s": 0.1, "stop": True}
    with run(agent, "sleep", "60", wait_port=wait_port) as client:
        assert client.until("unready")["message"] == "no port within 0.1 s"
        info, _, err = client.finish()
    said = "colab-devsync: no port within 0.1 s; the program was ended"
    assert (info["message"], err.decode()) == (said, said + "\n")


@pytest.mark.few
def test_a_debuggee_is_kept_once_somebody_came(
    agent: Driven, root: Path, python: str
) -> None:
    os.mkfifo(root / "go")
    serve = (
        "import socket, time\n"
        "s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()\n"
        "print('port %d' % s.getsockname()[1], flush=True)\n"
        "c = s.accept()[0]; print('came'); c.recv(1); c.close()\n"
        "print(open('go').read())\n"
    )
    wait_port = {"pattern": "port (\\d+)", "idle_limit_s": 3}
    with run(agent, python, "-c", serve, wait_port=wait_port) as client:
        port = client.until("ready")["port"]
        with socket.create_connection(("127.0.0.1", port)):
            client.wait_for(b"came\n")
            # Longer than the limit: only the keeper's clock tells.
            with run(agent, "sleep", "3.3") as clock:
                assert clock.finish()[0]["code"] == 0
        with run(agent, "sleep", "3.3") as clock:
            assert clock.finish()[0]["code"] == 0
        (root / "go").write_bytes(b"end\n")
        info, out, err = client.finish()
    assert (info["code"], err) == (0, b"")
    assert out.endswith(b"end\n\n")


# --- much -------------------------------------------------------------------------


@pytest.mark.few
def test_old_logs_are_removed(agent: Driven, root: Path) -> None:
    os.mkfifo(root / "go")
    with shell(agent, "cat go") as oldest:
        for _ in range(KEPT + 3):
            agent.tokens += agent.ask("tokens", count=1)["tokens"]
            with shell(agent, "exit") as client:
                client.finish()
        locks = (root / ".colab-devsync" / "runs").glob("*/lock")
        held = [str(one) for one in locks if one.parent.name != "job-1"]
        until(lambda: not any(map(is_locked, held)), "their keepers have gone, too")
        with shell(agent, "exit") as client:
            client.finish()
            names = [one["run"] for one in agent.ask("runs")["runs"]]
        assert len(names) in (KEPT + 1, KEPT + 2)  # it, the last, and 30 before
        assert "job-1" in names
        assert "job-2" not in names
        agent.ask("stop", run="job-1", kill=True)
        assert oldest.finish()[0]["signal"] == "SIGKILL"


def test_a_client_that_does_not_read_holds_up_nobody(
    agent: Driven, root: Path, python: str
) -> None:
    script = "import os\nfor _ in range(200): os.write(1, bytes(100000))"
    size = 20_000_000
    with run(agent, python, "-c", script) as client:
        log = folder(root, "job-1") / "stdout"
        until(lambda: log.stat().st_size == size, "it writes on")
        assert agent.put("a", b"") == wire.OK
        sent = []
        while len(client.streams[1]) < size:
            sent.append(len(client.next().data))
        info, out, _ = client.finish()
    assert (len(out), info["code"]) == (size, 0)
    assert max(sent) <= 64 << 10


@pytest.mark.few
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_output_nobody_takes_stays_on_the_disk(
    agent: Driven, root: Path, python: str
) -> None:
    script = "import os\nfor _ in range(1000): os.write(1, bytes(100000))"

    def memory_kib() -> int:
        status = Path(f"/proc/{agent.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    before = memory_kib()
    with run(agent, python, "-c", script):
        log = folder(root, "job-1") / "stdout"
        until(lambda: log.stat().st_size == 100_000_000, "it writes on")
        assert memory_kib() < before + 4_000
    assert agent.put("a", b"") == wire.OK
