"""`dap`: what Neovim, Helix, Emacs and LSP4IJ start to debug a file on the VM."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.place import Place
from tests.e2e.projects import write_config
from tests.e2e.runs_there import ended_afterwards
from tests.support.dap import DapClient, DapFailure
from tests.support.remotes import Remote
from tests.support.stdio_server import StdioServer

TRAIN = """\
import subprocess
import sys
total = 0
for number in range(3):
    total += number
print("total", total, *sys.argv[1:])
if "child" in sys.argv:
    subprocess.run([sys.executable, "worker.py"], check=True)
sys.exit(7)
"""
ADDS = 5  # the line
NOT_SAID = ["supportTerminateDebuggee"]  # debugpy can, but spells it otherwise
WORKER = "answer = 42\nopen('answer.txt', 'w').write(str(answer))\n"

pytestmark = [pytest.mark.openssh, pytest.mark.timeout(300)]


@pytest.fixture
def here(tmp_path: Path, remote: Remote) -> Iterator[Path]:
    folder = tmp_path / "segmentation"
    folder.mkdir()
    (folder / "train.py").write_text(TRAIN)
    (folder / "worker.py").write_text(WORKER)
    config = write_config(folder, remote)
    config.write_text(f'{config.read_text()}python = "{sys.executable}"\n')
    with ended_afterwards(remote):
        yield folder


@pytest.fixture
def adapter(place: Place, here: Path) -> Iterator[StdioServer]:
    argv = [sys.executable, "-m", "colab_devsync", "dap"]
    with StdioServer(argv, place.env, here) as server:
        yield server


def launch(adapter: StdioServer, **arguments: Any) -> dict[str, Any]:
    """As an editor's configuration; `connect` is what our client dials."""
    connect = {"host": "127.0.0.1", "port": adapter.port}
    return {
        "type": "colab-devsync",
        "request": "launch",
        "name": "Colab",
        "connect": connect,
        **arguments,
    }


def test_launching_a_file_stops_at_its_breakpoint_and_at_its_childs(
    here: Path, adapter: StdioServer
) -> None:
    program, worker = str(here / "train.py"), str(here / "worker.py")
    with DapClient(launch(adapter, program=program, args=["child"])) as client:
        (breakpoint_,) = client.attach({program: [ADDS]})
        assert breakpoint_["verified"]
        stop = client.wait_stop()
        assert (stop.path, stop.line) == (program, ADDS)
        assert client.locals(stop)["total"] == "0"
        (real,) = [one for one in client.events if one["event"] == "capabilities"]
        kept = real["body"]["capabilities"]
        assert [key for key in client.capabilities if not kept.get(key)] == NOT_SAID
        client.set_breakpoints({program: []})
        client.resume(stop)
        client.wait_output("total 3 child")
        child = client.wait_child()
        assert child.arguments["type"] == "colab-devsync"
        child.attach({worker: [2]})
        stop = child.wait_stop()
        assert child.locals(stop)["answer"] == "42"
        child.resume(stop)
        client.wait_end()
    assert adapter.wait_ended() == [0]


def test_an_editor_without_child_sessions_does_not_hold_them_up(
    here: Path, remote: Remote, adapter: StdioServer
) -> None:
    program = str(here / "train.py")
    with DapClient(launch(adapter, program=program, args=["child"])) as client:
        client.hello["supportsStartDebuggingRequest"] = False
        client.attach()
        client.wait_end()
        assert client.children == []
    assert (remote.root / "answer.txt").read_text() == "42"


def test_what_cannot_be_started_says_why(here: Path, adapter: StdioServer) -> None:
    for program, words in (("none.py", "no file"), ("/etc/passwd", "not in the pro")):
        client = DapClient(launch(adapter, program=program))
        with client:
            client.request("initialize", client.hello)
            with pytest.raises(DapFailure, match=words):
                client.request("launch", client.arguments)
    assert adapter.wait_ended() == [0, 0]


def test_leaving_during_the_start_takes_it_back(
    place: Place, here: Path, adapter: StdioServer
) -> None:
    client = DapClient(launch(adapter, program=str(here / "train.py")))
    with client:
        client.request("initialize", client.hello)
        starting = client.send("launch", client.arguments)
        client.request("disconnect")
        assert starting.exception(client.timeout_s) is not None
    assert adapter.wait_ended() == [0]
    done = place.run("--json", "runs", cwd=here)
    for one in map(json.loads, done.stdout.splitlines()):
        # It may just be ending; left alone it would wait a minute for a debugger.
        place.run("attach", one["run"], cwd=here, timeout_s=40)


def test_leaving_is_answered_though_debugpy_goes_first(adapter: StdioServer) -> None:
    """As when the program ends, or the link, while the editor leaves."""
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as debugpy,
        DapClient(launch(adapter, request="attach")) as client,
    ):
        connect = {"host": "127.0.0.1", "port": debugpy.getsockname()[1]}
        client.request("initialize", client.hello)
        attaching = client.send("attach", {"connect": connect})
        debugpy.settimeout(client.timeout_s)
        with debugpy.accept()[0] as connection:
            leaving = client.send("disconnect")
            heard = b""
            while b'"disconnect"' not in heard:
                heard += connection.recv(4096)
        assert leaving.result(client.timeout_s) == {}
        assert attaching.exception(client.timeout_s) is not None
    assert adapter.wait_ended() == [0]


def test_attaching_to_a_run_by_its_name(
    place: Place, here: Path, adapter: StdioServer
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = str(server.getsockname()[1])  # free in a moment
    chosen = ("--port", port)  # as Zed's task does, which attaches to a fixed one
    done = place.run("debug", "--attach-info", *chosen, "train.py", "y", cwd=here)
    info = json.loads(done.stdout)
    assert info["connect"] == {"host": "127.0.0.1", "port": int(port)}
    run = info["run"]
    program = str(here / "train.py")
    with DapClient(launch(adapter, request="attach", run=run)) as client:
        client.attach({program: [ADDS]})
        stop = client.wait_stop()
        client.set_breakpoints({program: []})
        client.resume(stop)
        client.wait_output("total 3 y")
        client.wait_end()
