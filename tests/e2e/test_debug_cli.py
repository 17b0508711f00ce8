"""`debug` and `tensorboard` from a terminal and from an editor, on a real VM."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from colab_devsync.cli.demo.dap import DebugSession
from colab_devsync.errors import DevsyncError
from tests.e2e.place import Place
from tests.e2e.projects import write_config
from tests.e2e.runs_there import ended_afterwards
from tests.support.dap import DapClient
from tests.support.remotes import Remote

TRAIN = """\
import sys
total = 0
for number in range(3):
    total += number
print("total", total, *sys.argv[1:])
sys.exit(7)
"""
ADDS = 4  # the line

BOARD = """\
#!{python}
import http.server
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
print("TensorBoard 2.99.0 at http://127.0.0.1:%d/ (...)" % server.server_port)
server.serve_forever()
"""


@pytest.fixture
def here(tmp_path: Path, remote: Remote) -> Iterator[Path]:
    folder = tmp_path / "segmentation"
    folder.mkdir()
    (folder / "train.py").write_text(TRAIN)
    config = write_config(folder, remote)
    config.write_text(f'{config.read_text()}python = "{sys.executable}"\n')
    with ended_afterwards(remote):
        yield folder


def start(place: Place, here: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "colab_devsync", *arguments],
        cwd=here,
        env=place.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def next_object(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()
    found: dict[str, Any] = json.loads(line)
    return found


def attach_info(place: Place, here: Path, *arguments: str) -> dict[str, Any]:
    done = place.run("debug", *arguments, cwd=here)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.decode().splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_debug_shows_the_output_and_exits_with_the_programs_code(
    place: Place, here: Path, remote: Remote
) -> None:
    with start(place, here, "--json", "debug", "train.py", "x") as process:
        info = next_object(process)
        with DapClient(info["configuration"]) as client:
            client.attach({str(here / "train.py"): [ADDS]})
            stop = client.wait_stop()
            assert client.locals(stop)["total"] == "0"
            client.set_breakpoints({str(here / "train.py"): []})
            client.resume(stop)
            client.wait_end()
        out, _ = process.communicate(timeout=30)
        *output, last = map(json.loads, out.decode().splitlines())
    said = "".join(one["text"] for one in output if one["stream"] == "stdout")
    assert said == "total 3 x\n"
    assert last == {"run": info["run"], "exitCode": 7}
    assert process.returncode == 7


def test_a_person_is_told_how_to_attach_and_how_long(
    place: Place, here: Path, remote: Remote
) -> None:
    done = place.run("debug", "--wait", "1", "train.py", cwd=here)
    said = done.stderr.decode()
    assert "train-1 waits for a debugger at 127.0.0.1:" in said
    assert "1 s at most" in said
    assert [name in said for name in ("VS Code", "PyCharm", "Neovim")] == [True] * 3
    assert '"type": "debugpy"' in said
    assert said.count("no debugger attached within 1 s") == 1
    assert "Traceback" not in said
    assert (done.returncode, done.stdout) == (128 + signal.SIGKILL, b"")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--attach-info", "train.py", "a", "b"),
        ("train.py", "--attach-info", "--", "a", "b"),
        ("-m", "train", "--attach-info", "--", "a", "b"),
    ],
)
def test_attach_info_is_one_line_and_the_program_waits(
    place: Place, here: Path, remote: Remote, arguments: tuple[str, ...]
) -> None:
    info = attach_info(place, here, *arguments)
    assert info["configuration"]["pathMappings"] == info["pathMappings"]
    (mapping,) = info["pathMappings"]
    assert mapping["localRoot"] == str(here)
    assert mapping["remoteRoot"] == str(remote.root.resolve())
    with DapClient(info["configuration"]) as client:
        client.attach()
        client.wait_end()
    shown = place.run("attach", info["run"], cwd=here)
    assert (shown.stdout, shown.returncode) == (b"total 3 a b\n", 7)


def test_a_running_debuggee_can_be_asked_for_again(
    place: Place, here: Path, remote: Remote
) -> None:
    info = attach_info(place, here, "--attach-info", "train.py")
    done = place.run("debug", "--json", "--run", info["run"], cwd=here)
    again = json.loads(done.stdout)
    assert again["connect"] == info["connect"]
    assert "waitSeconds" not in again
    text = place.run("debug", "--run", info["run"], cwd=here).stderr.decode()
    assert f"waits for a debugger at 127.0.0.1:{info['connect']['port']}." in text


def test_a_port_that_is_taken_is_said(place: Place, here: Path, remote: Remote) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        words = ("--attach-info", "--port", str(port), "train.py")
        done = place.run("debug", *words, cwd=here)
    assert json.loads(done.stdout)["connect"]["port"] != port
    assert f"Port {port} of this machine is taken" in done.stderr.decode()


def test_ctrl_c_ends_the_debuggee(place: Place, here: Path, remote: Remote) -> None:
    with start(place, here, "--json", "debug", "train.py") as process:
        next_object(process)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(out.splitlines()[-1])["exitCode"] == 130


def test_what_is_wrong_is_6_or_2(place: Place, here: Path, remote: Remote) -> None:
    (here / "bad.py").write_text("if x\n")
    for arguments, code, words in (
        (["none.py"], 6, "does not exist"),
        (["bad.py"], 6, "SyntaxError"),
        (["-m", "nope"], 6, "no module nope"),
        (["--run", "nope-1"], 6, "no run nope-1"),
        (["--pid", "99999999"], 6, "no process 99999999"),
        (["--pid", "1", "train.py"], 2, "Name a program, or"),
        ([], 6, "nothing to run"),
    ):
        done = place.run("debug", *arguments, cwd=here)
        assert (done.returncode, words in done.stderr.decode()) == (code, True), (
            arguments,
            done.stderr,
        )


# --- editors --------------------------------------------------------------------------


def test_an_editor_gets_its_own_folders_name_and_all_it_needs(
    place: Place, here: Path, remote: Remote, tmp_path: Path
) -> None:
    named = tmp_path / "my project"
    named.symlink_to(here)
    editor = place.editor()
    editor.initialize(named)
    file = (named / "train.py").as_uri()
    body = editor.job("debug", {"folder": named.as_uri(), "file": file, "args": ["z"]})
    assert body["state"] == "done", body
    result = body["result"]
    assert result.keys() >= {
        "run",
        "connect",
        "pathMappings",
        "justMyCode",
        "subProcess",
        "configuration",
    }
    with DapClient(result["configuration"]) as client:
        client.attach({str(named / "train.py"): [ADDS]})
        stop = client.wait_stop()
        assert stop.path == str(named / "train.py")
        client.set_breakpoints({str(named / "train.py"): []})
        client.resume(stop)
        client.wait_end()
        assert client.output() == "total 3 z\n"
    editor.wait_for(
        "colabDevsync/run",
        lambda p: p["run"] == result["run"] and p["state"] == "exited",
    )
    outputs = [one for one in editor.said if one["method"] == "colabDevsync/output"]
    assert outputs == []  # the debug console has it


def test_a_failure_is_the_jobs(place: Place, here: Path, remote: Remote) -> None:
    editor = place.editor()
    editor.initialize(here)
    body = editor.job("debug", {"module": "nope"})
    assert (body["state"], body["error"]["code"]) == ("failed", "RunError")
    assert "no module nope on the VM" in body["error"]["message"]


def test_tensorboard_from_terminal_and_editor_is_the_same(
    place: Place, here: Path, remote: Remote, tmp_path: Path
) -> None:
    board = tmp_path / "bin" / "tensorboard"
    board.parent.mkdir()
    board.write_text(BOARD.format(python=sys.executable))
    board.chmod(0o755)
    python = tmp_path / "python3"
    python.symlink_to(Path(sys.executable).resolve())  # has no packages
    config = write_config(here, remote)
    path = f'env = {{ PATH = "{board.parent}:/usr/bin:/bin" }}'
    config.write_text(f'{config.read_text()}python = "{python}"\n{path}\n')
    done = place.run("tensorboard", cwd=here)
    assert done.returncode == 0, done.stderr
    url = done.stdout.decode().strip()
    with urllib.request.urlopen(url, timeout=60) as answer:
        assert answer.status == 200
    asked = place.run("tensorboard", "--json", "--no-browser", cwd=here)
    found = json.loads(asked.stdout)
    assert found["url"] == url
    editor = place.editor()
    editor.initialize(here)
    body = editor.job("tensorboard", {})
    assert body["result"] == found
    board.unlink()
    done = place.run("tensorboard", "--logdir", "other", cwd=here)
    assert done.returncode == 6
    assert b"pip install tensorboard" in done.stderr


# --- the demo's own debugger ----------------------------------------------------------


def test_the_demos_debugger_stops_reads_and_leaves(
    place: Place, here: Path, remote: Remote
) -> None:
    info = attach_info(place, here, "--attach-info", "train.py")
    with DebugSession(info["configuration"]) as session:
        session.attach(str(here / "train.py"), ADDS)
        stop = session.wait_stop()
        assert (stop.path, stop.line) == (str(here / "train.py"), ADDS)
        assert session.locals(stop)["total"] == "0"
        session.leave()
    shown = place.run("attach", info["run"], cwd=here)
    assert (shown.stdout, shown.returncode) == (b"total 3\n", 7)


def test_the_demos_debugger_says_what_was_refused(
    place: Place, here: Path, remote: Remote
) -> None:
    info = attach_info(place, here, "--attach-info", "train.py")
    wrong = {**info["configuration"], "listen": {"port": 1}}
    said = pytest.raises(DevsyncError, match=r"debugpy refused attach: .*exclusive")
    with DebugSession(wrong) as session, said:
        session.attach(str(here / "train.py"), ADDS)
