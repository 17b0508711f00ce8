"""The command line and a real VM: sync, conflicts, exec, doctor, exit codes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.place import Place
from tests.e2e.projects import write_config
from tests.e2e.wire_client import Editor
from tests.support.proxy import ChaosProxy
from tests.support.remotes import Remote

ALL_BYTES = bytes(range(256)) * 200 + "ü€😀".encode() + b"\xff\xed\xb2\x80"
PRINT_ALL = (
    "import sys; data = bytes(range(256)) * 200 + '\\u00fc\\u20ac\\U0001f600'.encode()"
    " + b'\\xff\\xed\\xb2\\x80'; sys.stdout.buffer.write(data);"
    " sys.stderr.buffer.write(data[::-1])"
)


@pytest.fixture
def here(tmp_path: Path, remote: Remote) -> Path:
    folder = tmp_path / "segmentation"
    folder.mkdir()
    (folder / "train.py").write_text("print('one')\n")
    write_config(folder, remote)
    return folder


def only(data: bytes) -> dict[str, object]:
    (line,) = data.decode().splitlines()
    body: dict[str, object] = json.loads(line)
    return body


def wait_until(true: Callable[[], bool], timeout_s: float = 60) -> None:
    """For what another process does to a file: there is no event for it."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not true():
        assert time.monotonic() < deadline
        pause.wait(0.01)


def test_sync_brings_the_vm_up_to_date(
    place: Place, here: Path, remote: Remote
) -> None:
    first = only(place.run("sync", "--json", cwd=here).stdout)
    assert (first["files"], first["deleted"], first["conflicts"]) == (2, 0, 0)
    assert (remote.root / "train.py").read_text() == "print('one')\n"

    (here / "train.py").write_text("print('two')\n")
    differs = only(place.run("sync", "--check", "--json", cwd=here).stdout)
    second = place.run("sync", cwd=here)
    assert second.returncode == 0
    assert (remote.root / "train.py").read_text() == "print('two')\n"
    assert differs["paths"] in (["train.py"], [])  # the watcher may have been faster
    assert differs["deletions"] == []
    nothing = only(place.run("sync", "--json", cwd=here).stdout)
    assert nothing["files"] == 0

    status = only(place.run("status", "--json", cwd=here).stdout)
    assert (status["link"], status["pending"]) == ("online", 0)
    text = place.run("status", cwd=here).stdout.decode()
    assert "online" in text
    assert "2 mirrored" in text


def test_a_conflict_is_5_until_it_is_decided(
    place: Place, here: Path, remote: Remote
) -> None:
    assert place.run("sync", cwd=here).returncode == 0
    (remote.root / "train.py").write_text("print('theirs')\n")
    done = place.run("sync", cwd=here)
    assert done.returncode == 5
    assert b"colab-devsync conflicts" in done.stderr
    (conflict,) = place.run("conflicts", cwd=here).stdout.decode().splitlines()[1:-1]
    assert conflict.split()[:3] == ["train.py", "unchanged", "changed"]
    (here / "train.py").write_text("print('mine')\n")
    listed = place.run("conflicts", cwd=here).stdout.decode()
    assert "train.py" in listed
    assert only(place.run("conflicts", "--json", cwd=here).stdout)["path"] == "train.py"

    inner = here / "pkg"
    inner.mkdir()  # as with every command, PATH may be relative to where one is
    words = ("resolve", "../train.py", "--keep", "local", "--json")
    decided = place.run(*words, cwd=inner)
    assert only(decided.stdout) == {"path": "train.py", "keep": "local"}
    assert (remote.root / "train.py").read_text() == "print('mine')\n"
    assert place.run("conflicts", cwd=here).stdout == b"No conflicts.\n"
    again = place.run("resolve", "train.py", "--keep", "local", cwd=here)
    assert again.returncode == 5
    assert place.run("sync", cwd=here).returncode == 0


def test_sync_says_which_files_it_leaves_out(
    place: Place, here: Path, remote: Remote, tmp_path: Path
) -> None:
    (here / "outside").symlink_to(tmp_path / "data")
    done = place.run("sync", "--json", cwd=here)
    assert done.returncode == 0
    assert only(done.stdout)["files"] == 2
    assert b"warning: outside: the symbolic link leads out" in done.stderr


# --- a link that is lost --------------------------------------------------------------


def test_who_waits_for_a_lost_link_is_told_and_may_leave(
    place: Place, here: Path, remote: Remote, proxy: ChaosProxy
) -> None:
    def link() -> object:
        return only(place.run("status", "--json", cwd=here).stdout)["link"]

    write_config(here, remote, port=proxy.port)
    assert place.run("sync", cwd=here).returncode == 0
    proxy.refuse()
    proxy.reset_all()
    wait_until(lambda: link() == "lost", 30)
    listed = place.run("runs", cwd=here)
    assert listed.returncode == 0
    assert b"The VM did not answer" in listed.stderr

    connect, program = ("connect",), ("exec", "--", "true")
    left = ((connect, signal.SIGINT), (connect, signal.SIGKILL))
    for words, how in (*left, (program, signal.SIGKILL)):
        with subprocess.Popen(
            [sys.executable, "-m", "colab_devsync", *words],
            cwd=here,
            env=place.env,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stderr is not None
            assert b"waits: the VM does not answer" in process.stderr.readline()
            process.send_signal(how)
    assert link() == "lost", "it goes on trying, whoever gave up"
    proxy.refuse(False)
    wait_until(lambda: link() == "online", 30)


# --- exec -----------------------------------------------------------------------------


def test_exec_gives_the_programs_own_code_and_exact_bytes(
    place: Place, here: Path, remote: Remote
) -> None:
    done = place.run("exec", "--", sys.executable, "-c", PRINT_ALL, cwd=here)
    assert done.returncode == 0
    assert done.stdout == ALL_BYTES
    assert done.stderr == ALL_BYTES[::-1]
    for code in (3, 255):
        line = f"raise SystemExit({code})"
        done = place.run("exec", "--", sys.executable, "-c", line, cwd=here)
        assert done.returncode == code
    done = place.run("exec", "--", "no-such-program-anywhere", cwd=here)
    assert done.returncode == 6
    assert b"no-such-program-anywhere" in done.stderr


def test_exec_runs_in_the_project_and_takes_stdin(
    place: Place, here: Path, remote: Remote
) -> None:
    place.run("sync", cwd=here)
    assert place.run("exec", "--", "cat", "train.py", cwd=here).stdout == (
        b"print('one')\n"
    )
    data = ALL_BYTES * 30  # more than a pipe and a window hold
    assert place.run("exec", "cat", cwd=here, stdin=data).stdout == data


def test_exec_json_is_objects_only(place: Place, here: Path, remote: Remote) -> None:
    done = place.run("--json", "exec", "--", "echo", "hi", cwd=here)
    *output, last = map(json.loads, done.stdout.decode().splitlines())
    assert "".join(o["text"] for o in output) == "hi\n"
    assert last == {"exitCode": 0}


def start_sleeper(place: Place, here: Path, trap: str) -> subprocess.Popen[bytes]:
    script = f"import os, signal, time\n{trap}\nprint(os.getpid(), flush=True)\n"
    script += "while True: time.sleep(1)"
    return subprocess.Popen(
        [sys.executable, "-m", "colab_devsync", "exec", sys.executable, "-c", script],
        cwd=here,
        env=place.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def pid_from(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_ctrl_c_reaches_the_program(place: Place, here: Path, remote: Remote) -> None:
    trap = "signal.signal(signal.SIGINT, lambda *_: os._exit(42))"
    with start_sleeper(place, here, trap) as process:
        pid = pid_from(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 42
    assert not is_alive(pid)


def test_a_second_ctrl_c_kills_it(place: Place, here: Path, remote: Remote) -> None:
    trap = "signal.signal(signal.SIGINT, lambda *_: os.write(1, b'no\\n'))"
    with start_sleeper(place, here, trap) as process:
        pid = pid_from(process)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == b"no\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 128 + signal.SIGKILL
    assert not is_alive(pid)


def test_a_program_ends_with_the_client_that_started_it(
    place: Place, here: Path, remote: Remote
) -> None:
    with start_sleeper(place, here, "pass") as process:
        pid = pid_from(process)
        process.kill()
        process.wait(30)
    wait_until(lambda: not is_alive(pid))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux /proc")
def test_a_client_that_does_not_read_holds_the_program_back(
    place: Place, here: Path, remote: Remote
) -> None:
    count = remote.root / "count"
    script = (
        "import os, sys\nfor n in range(10**9):\n"
        "    sys.stdout.write('x' * 65535 + '\\n')\n"
        "    if n % 16 == 0:\n"
        "        open('next', 'w').write(str(n))\n"
        "        os.replace('next', 'count')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "colab_devsync", "exec", sys.executable, "-c", script],
        cwd=here,
        env=place.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,  # never read
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: count.exists())
        last, pause = "", threading.Event()
        while count.read_text() != last:  # until it stands still
            last = count.read_text()
            pause.wait(0.5)
        assert int(last) * 65536 < 200_000_000
        (daemon,) = place.daemon_pids()
        status = Path(f"/proc/{daemon}/status").read_text()
        (rss,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
        assert int(rss.split()[1]) < 150_000  # kB
    finally:
        process.kill()
        process.communicate()


# --- failures -------------------------------------------------------------------------


def test_an_unreachable_host_is_3(place: Place, here: Path, remote: Remote) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    write_config(here, remote, port=port)
    done = place.run("connect", "--json", cwd=here)
    error = only(done.stdout)["error"]
    assert isinstance(error, dict)
    assert (done.returncode, error["code"]) == (3, "ConnectFailed")
    assert str(port) in error["message"]
    assert error["hint"]


def test_connect_can_forget_the_host_key(
    place: Place, here: Path, remote: Remote
) -> None:
    assert place.run("connect", "--forget-host-key", cwd=here).returncode == 0


def test_an_unknown_host_key_without_terminal_is_3(
    place: Place, here: Path, remote: Remote
) -> None:
    write_config(here, remote, host_key=None)
    done = place.run("connect", cwd=here)
    assert done.returncode == 3
    said = done.stderr.decode()
    assert remote.login.fingerprint in said
    assert "no terminal to ask" in said


def test_ctrl_c_cancels_the_job_and_is_130(
    place: Place, here: Path, remote: Remote
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        write_config(here, remote, port=silent.getsockname()[1])
        process = subprocess.Popen(
            [sys.executable, "-m", "colab_devsync", "sync"],
            cwd=here,
            env=place.env,
            stderr=subprocess.PIPE,
        )
        silent.settimeout(30)
        with silent.accept()[0]:  # it has dialled; nobody ever speaks
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=30)
        assert process.returncode == 130
        assert said.strip() == b"interrupted"


def test_doctor_walks_to_the_vm(place: Place, here: Path, remote: Remote) -> None:
    done = place.run("doctor", "--json", cwd=here)
    assert done.returncode == 0, done.stdout
    checks = [json.loads(line) for line in done.stdout.decode().splitlines()]
    names = (
        "installation folders configuration terms key reach host-key login agent gpu"
    )
    names += " disk clock forwards"
    found = [c["name"].replace(" ", "-") for c in checks if c["name"] != "transfer"]
    assert found == [*names.split(), "editor", "ssh"]
    assert all(c["ok"] is not False for c in checks)
    assert "✓ login" in place.run("doctor", cwd=here).stdout.decode()


def test_doctor_says_where_it_breaks_and_what_to_do(
    place: Place, here: Path, remote: Remote, tmp_path: Path
) -> None:
    def failures(**changes: object) -> list[tuple[str, bool]]:
        write_config(here, remote, **changes)
        done = place.run("doctor", "--json", cwd=here)
        assert done.returncode == 1
        checks = [json.loads(line) for line in done.stdout.decode().splitlines()]
        return [(c["name"], bool(c["hint"])) for c in checks if c["ok"] is False]

    wrong = "SHA256:uNiVztksCsDhcc0u9e8BrYXiVx4fUYE6QJfX2e6JPj0"
    assert failures(host_key=wrong) == [("host key", True)]
    assert failures(identity_file=str(tmp_path / "none"))[0] == ("key", True)
    assert failures(hosst="x") == [("configuration", True)]
    outside = place.run("doctor", "--json")
    assert b'"configuration", "ok": false' in outside.stdout


# --- without the daemon ---------------------------------------------------------------


def test_in_process_needs_no_daemon(place: Place, here: Path, remote: Remote) -> None:
    done = place.run("--in-process", "sync", "--json", cwd=here)
    assert done.returncode == 0, done.stderr
    assert only(done.stdout)["files"] == 2
    assert (remote.root / "train.py").read_text() == "print('one')\n"
    done = place.run("exec", "--in-process", "cat", "train.py", cwd=here)
    assert done.stdout == b"print('one')\n"
    assert not place.runtime.exists() or place.daemon_pids() == []


def test_lsp_in_process_serves_one_editor(
    place: Place, here: Path, remote: Remote
) -> None:
    argv = (sys.executable, "-m", "colab_devsync", "lsp", "--in-process")
    with Editor(place.env, cwd=here, argv=argv) as editor:
        editor.initialize(here)
        editor.wait_for("$/progress", lambda p: p["value"]["kind"] == "end")
        editor.save(here / "train.py", "print('two')\n")
        editor.wait_for("colabDevsync/mirrored")
        assert (remote.root / "train.py").read_text() == "print('two')\n"
        assert editor.leave() == 0
    assert not place.runtime.exists() or place.daemon_pids() == []
