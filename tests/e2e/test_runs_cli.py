"""`run`, `runs`, `attach`, `logs`, `stop` at the command line, on a real VM."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.place import Place
from tests.e2e.projects import write_config
from tests.e2e.runs_there import (
    ALL_BYTES,
    ended_afterwards,
    is_alive,
    specs,
    write_programs,
)
from tests.support.files import remove_tree
from tests.support.proxy import ChaosProxy
from tests.support.remotes import Remote


@pytest.fixture
def here(tmp_path: Path, remote: Remote) -> Iterator[Path]:
    folder = tmp_path / "segmentation"
    folder.mkdir()
    write_programs(folder)
    write_config(folder, remote)
    with ended_afterwards(remote):
        yield folder


def start(place: Place, here: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "colab_devsync", *arguments],
        cwd=here,
        env=place.env,
        bufsize=0,  # what `readline` leaves is `communicate`'s
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def next_line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def detach(place: Place, here: Path, *what: str) -> str:
    done = place.run("run", "--detach", *what, cwd=here)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


def listed(place: Place, here: Path) -> dict[str, dict[str, Any]]:
    lines = place.run("runs", "--json", cwd=here).stdout.decode().splitlines()
    return {one["run"]: one for one in map(json.loads, lines)}


def wait_until(true: Callable[[], object], timeout_s: float = 30) -> None:
    """For what another process does: there is no event for it."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not true():
        assert time.monotonic() < deadline
        pause.wait(0.02)


# --- run ------------------------------------------------------------------------------


def test_a_run_gives_the_programs_own_code_and_exact_bytes(
    place: Place, here: Path, remote: Remote
) -> None:
    done = place.run("run", "bytes.py", cwd=here)
    assert (done.returncode, done.stdout, done.stderr) == (
        3,
        ALL_BYTES,
        ALL_BYTES[::-1],
    )


def test_what_was_just_saved_runs(place: Place, here: Path, remote: Remote) -> None:
    assert place.run("run", "args.py", "x", cwd=here).stdout == b"x\n"
    (here / "args.py").write_text("print('new')\n")
    assert place.run("run", "args.py", "x", cwd=here).stdout == b"new\n"
    for number in range(3):
        (here / "args.py").write_text(f"print({number})\n")
        assert place.run("run", "args.py", cwd=here).stdout == b"%d\n" % number
    assert place.run("run", "--no-sync", "args.py", cwd=here).returncode == 0


def test_arguments_are_the_programs(place: Place, here: Path, remote: Remote) -> None:
    (here / "pkg" / "__main__.py").write_text((here / "args.py").read_text())
    for words, said in (
        (["args.py", "a b", "--json", "-m", "*"], "a b|--json|-m|*"),
        (["args.py", "--", "-v", "--", "x"], "-v|--|x"),
        (["-m", "pkg", "--detach", "x"], "--detach|x"),
        (["-m", "pkg", "--", "--help"], "--help"),
        (["--project", ".", "--no-sync", "args.py", "--no-sync"], "--no-sync"),
    ):
        done = place.run("run", *words, cwd=here)
        assert (done.stdout.decode(), done.returncode) == (f"{said}\n", 0)


def test_without_a_file_the_configuration_says_what(
    place: Place, here: Path, remote: Remote
) -> None:
    nothing = place.run("run", cwd=here)
    assert nothing.returncode == 6
    assert b"entry" in nothing.stderr
    config = here / ".colabremote.toml"
    config.write_text(f'{config.read_text()}\n[run]\nentry = "args.py"\nargs = ["a"]\n')
    assert place.run("run", cwd=here).stdout == b"a\n"
    assert place.run("run", "--", "--b", cwd=here).stdout == b"--b\n"


def test_a_file_is_named_from_where_one_stands(
    place: Place, here: Path, remote: Remote, tmp_path: Path
) -> None:
    for cwd, words in (
        (here / "pkg", ["../args.py"]),
        (tmp_path, ["--project", str(here), str(here / "args.py")]),
        (tmp_path, ["--project", str(here), "args.py"]),
    ):
        done = place.run("run", *words, cwd=cwd)
        assert done.returncode == 0, done.stderr
    (tmp_path / "elsewhere.py").write_text("")
    for file, said in (
        ("gone.py", b"does not exist"),
        ("../elsewhere.py", b"is not in the project"),
        ("pkg", b"is a folder"),
    ):
        done = place.run("run", file, cwd=here)
        assert done.returncode == 6
        assert said in done.stderr
    assert len(specs(remote)) == 3


def test_a_file_that_is_not_mirrored_is_6(
    place: Place, here: Path, remote: Remote
) -> None:
    (here / "data").mkdir()
    (here / "data" / "a.py").write_text("")
    (here / ".gitignore").write_text("data/\n")
    done = place.run("run", "data/a.py", cwd=here)
    assert done.returncode == 6
    assert b"a.py" in done.stderr
    assert b"ignored" in done.stderr


def test_programs_that_cannot_run_say_why(
    place: Place, here: Path, remote: Remote
) -> None:
    broken = place.run("run", "broken.py", cwd=here)
    assert broken.returncode == 1
    assert b"SyntaxError" in broken.stderr
    missing = place.run("run", "-m", "no_such_module", cwd=here)
    assert missing.returncode == 1
    assert b"no_such_module" in missing.stderr
    config = here / ".colabremote.toml"
    config.write_text(
        config.read_text().replace("[remote]\n", '[remote]\npython = "python9"\n')
    )
    assert place.run("run", "args.py", cwd=here).returncode in (4, 6)


def test_json_is_output_and_then_the_code(
    place: Place, here: Path, remote: Remote
) -> None:
    done = place.run("--json", "run", "bytes.py", cwd=here)
    *output, last = map(json.loads, done.stdout.decode().splitlines())
    assert last == {"run": "bytes-1", "exitCode": 3}
    for stream, data in (("stdout", ALL_BYTES), ("stderr", ALL_BYTES[::-1])):
        parts = [one for one in output if one["stream"] == stream]
        texts = [one["text"].encode("utf-8", "surrogateescape") for one in parts]
        assert b"".join(texts) == data
        sizes = [0, *map(len, texts)]
        assert [one["offset"] for one in parts] == [
            sum(sizes[: n + 1]) for n in range(len(parts))
        ]


# --- ctrl-C ---------------------------------------------------------------------------


def test_ctrl_c_stops_the_run_and_shows_its_last_words(
    place: Place, here: Path, remote: Remote
) -> None:
    with start(place, here, "run", "polite.py") as process:
        pid = int(next_line(process))
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
        assert (out, process.returncode) == (b"bye\n", 42)
    wait_until(lambda: not is_alive(pid))


def test_the_third_ctrl_c_leaves(
    place: Place, here: Path, remote: Remote, proxy: ChaosProxy
) -> None:
    write_config(here, remote, port=proxy.port)
    with start(place, here, "run", "stubborn.py") as process:
        pid = int(next_line(process))
        proxy.freeze()  # nobody on the VM hears of it
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            threading.Event().wait(0.3)  # a signal alone: two at once are one
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:  # the machine was busy, and two were one
            process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert is_alive(pid)


def test_a_second_ctrl_c_kills_it(place: Place, here: Path, remote: Remote) -> None:
    with start(place, here, "run", "stubborn.py") as process:
        pid = int(next_line(process))
        process.send_signal(signal.SIGINT)
        assert next_line(process) == b"no\n"
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
        assert process.returncode == 128 + signal.SIGKILL
        assert out == b""  # to TERM, which would come after 5 s, it says no
    wait_until(lambda: not is_alive(pid))


def test_ctrl_c_before_it_runs_starts_nothing(
    place: Place, here: Path, remote: Remote
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        silent.settimeout(30)
        write_config(here, remote, port=silent.getsockname()[1])
        with (
            start(place, here, "run", "polite.py") as process,
            silent.accept()[0],  # no word of SSH is ever said
        ):
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
    assert specs(remote) == []


# --- attach, logs, stop ---------------------------------------------------------------


def test_a_detached_run_is_listed_followed_and_stopped(
    place: Place, here: Path, remote: Remote
) -> None:
    run = detach(place, here, "polite.py")
    assert run == "polite-1"
    only = listed(place, here)[run]
    assert (only["state"], only["kind"]) == ("running", "run")
    table = place.run("runs", cwd=here).stdout.decode()
    assert "polite-1  running" in table
    assert "python3 polite.py" in table
    status = place.run("status", cwd=here).stdout.decode()
    assert "polite-1 running" in status

    with start(place, here, "attach", run) as process:
        assert int(next_line(process)) == only["pid"]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert b"goes on" in err
    assert is_alive(only["pid"])

    with start(place, here, "attach", run) as process:
        assert int(next_line(process)) == only["pid"]  # shown again from the start
        stopped = place.run("stop", cwd=here)
        assert stopped.stdout == b"polite-1 has ended: exit code 42.\n"
        out, _ = process.communicate(timeout=30)
        assert (out, process.returncode) == (b"bye\n", 42)
    assert listed(place, here)[run]["exitCode"] == 42
    again = place.run("stop", run, "--json", cwd=here)
    assert json.loads(again.stdout)["exitCode"] == 42


def test_stop_escalates_and_kills_at_once_if_told(
    place: Place, here: Path, remote: Remote
) -> None:
    run = detach(place, here, "stubborn.py")
    stopped = place.run("stop", run, "--kill", cwd=here)
    assert stopped.stdout == b"stubborn-1 has ended: SIGKILL.\n"
    assert not is_alive(specs(remote)[0]["pid"])


def test_logs_show_what_is_there(place: Place, here: Path, remote: Remote) -> None:
    (here / "lines.py").write_text(
        "import sys\nfor n in range(20000):\n    print('out', n)\n"
        "    print('err', n, file=sys.stderr)\nprint('end', end='')\n"
    )
    assert place.run("run", "lines.py", cwd=here).returncode == 0
    out = b"".join(b"out %d\n" % n for n in range(20000)) + b"end"
    err = b"".join(b"err %d\n" % n for n in range(20000))
    for words, expected in (
        (["logs", "lines-1"], (out, err)),
        (["logs", "lines-1", "-f"], (out, err)),
        (["logs", "lines-1", "--stdout"], (out, b"")),
        (["logs", "lines-1", "--stderr", "-f"], (b"", err)),
        (["logs", "lines-1", "--tail", "2"], (b"out 19999\nend", err[-20:])),
        (["logs", "lines-1", "--tail", "1", "--stderr"], (b"", err[-10:])),
        (["logs", "lines-1", "--tail", "0", "-f"], (b"", b"")),
        (["attach", "lines-1", "--tail", "1"], (b"end", err[-10:])),
        (["attach", "lines-1"], (out, err)),
    ):
        done = place.run(*words, cwd=here)
        assert (done.returncode, done.stdout, done.stderr) == (0, *expected), words


def test_unknown_runs_are_6_with_names_that_are_near(
    place: Place, here: Path, remote: Remote
) -> None:
    place.run("run", "args.py", cwd=here)
    for words in (["attach", "agrs-1"], ["logs", "agrs-1"], ["stop", "agrs-1"]):
        done = place.run(*words, cwd=here)
        assert done.returncode == 6, words
        assert b"Did you mean args-1?" in done.stderr
    done = place.run("stop", cwd=here)
    assert done.returncode == 6
    assert b"No program runs on the VM" in done.stderr
    assert b"next:  `colab-devsync runs` lists those that have ended." in done.stderr
    first, second = detach(place, here, "polite.py"), detach(place, here, "polite.py")
    done = place.run("stop", cwd=here)
    assert done.returncode == 6
    assert f"{first}, {second}".encode() in done.stderr


# --- what may go away -----------------------------------------------------------------


def test_the_run_outlives_the_daemon(place: Place, here: Path, remote: Remote) -> None:
    with start(place, here, "run", "numbers.py") as process:
        assert next_line(process) == b"0\n"
        (daemon,) = place.daemon_pids()
        os.kill(daemon, signal.SIGKILL)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 1
        assert b"numbers-1 goes on on the VM" in err
        assert b"attach numbers-1" in err
    (remote.root / "stop").write_text("")
    done = place.run("attach", "numbers-1", cwd=here)
    assert done.returncode == 5
    numbers = list(map(int, done.stdout.split()))
    assert numbers == list(range(len(numbers)))


def test_every_line_comes_once_though_the_link_breaks(
    place: Place, here: Path, remote: Remote, proxy: ChaosProxy
) -> None:
    write_config(here, remote, port=proxy.port)
    with start(place, here, "run", "numbers.py") as process:
        numbers = []
        for _ in range(3):
            numbers += [int(next_line(process)) for _ in range(20)]
            proxy.reset_all()
        numbers += [int(next_line(process)) for _ in range(20)]
        (remote.root / "stop").write_text("")
        out, _ = process.communicate(timeout=30)
        assert process.returncode == 5
        numbers += map(int, out.split())
    assert numbers == list(range(len(numbers)))


def test_a_run_whose_vm_was_replaced_is_3(
    place: Place, here: Path, remote: Remote, proxy: ChaosProxy
) -> None:
    write_config(here, remote, port=proxy.port)
    with start(place, here, "run", "polite.py") as process:
        pid = int(next_line(process))
        proxy.freeze()
        os.killpg(pid, signal.SIGKILL)
        remove_tree(remote.root)
        remote.root.mkdir()
        proxy.unfreeze()
        proxy.reset_all()
        _, err = process.communicate(timeout=30)
        assert process.returncode == 3
        assert b"Run polite-1 was lost: the VM was replaced." in err


def test_a_reader_that_does_not_read_holds_up_nothing(
    place: Place, here: Path, remote: Remote
) -> None:
    size = 40_000_000
    (here / "flood.py").write_text(
        f"import sys\nfor n in range({size // 50_000}):\n"
        "    sys.stdout.write('%49999d\\n' % n)\nopen('done', 'w').close()\n"
    )
    with start(place, here, "run", "flood.py") as process:
        wait_until((remote.root / "done").exists)
        (here / "args.py").write_text("print('saved')\n")
        assert place.run("run", "args.py", cwd=here).stdout == b"saved\n"
        out, _ = process.communicate(timeout=120)
    lines = out.splitlines()
    assert len(out) == size
    assert list(map(int, lines)) == list(range(len(lines)))


def test_watch_tells_of_runs(place: Place, here: Path, remote: Remote) -> None:
    with start(place, here, "watch", "--json") as process:
        while json.loads(next_line(process)).get("link") != "online":
            pass
        place.run("run", "bytes.py", cwd=here)
        said: list[tuple[str, int | None]] = []
        while len(said) < 2:
            event = json.loads(next_line(process))
            assert event["event"] != "output"
            if event["event"] == "run":
                said.append((event["state"], event.get("exitCode")))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert said == [("running", None), ("exited", 3)]


def test_a_person_is_told_that_the_vm_has_another_version(
    place: Place, here: Path, remote: Remote
) -> None:
    assert place.run("sync", cwd=here).returncode == 0
    (remote.root / "args.py").write_text("print('theirs')\n")
    (here / "args.py").write_text("print('mine')\n")
    done = place.run("run", "args.py", cwd=here)
    assert (done.returncode, done.stdout) == (0, b"theirs\n")
    assert b"in conflict, so the VM has its own version: args.py" in done.stderr
    assert b"resolve" in done.stderr
