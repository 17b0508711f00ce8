"""One daemon per user: started once, shared, ended, and replaced when it was killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from tests.e2e.place import Place
from tests.e2e.wire_client import Editor

DAEMON = (sys.executable, "-m", "colab_devsync.lsp")


def pid_of(editor: Editor) -> int:
    number: int = editor.request("colabDevsync/daemon", {})["pid"]
    return number


def test_two_editors_share_a_daemon_and_one_may_leave(place: Place) -> None:
    with place.editor() as one, place.editor() as two:
        one.initialize()
        two.initialize()
        assert pid_of(one) == pid_of(two)
        assert one.request("colabDevsync/daemon", {})["clients"] == 2
        assert two.leave() == 0
        assert pid_of(one) == place.daemon_pids()[0]


def test_a_client_that_dies_harms_nobody(place: Place) -> None:
    with place.editor() as one, place.editor() as two:
        one.initialize()
        two.initialize()
        two.kill()
        assert pid_of(one) == place.daemon_pids()[0]


def test_many_starts_at_once_give_one_daemon(place: Place) -> None:
    editors = [place.editor() for _ in range(4)]
    answers = [editor.start_request("initialize", {"capabilities": {}})
               for editor in editors]  # fmt: skip
    for answer in answers:
        assert answer.result(30)["serverInfo"]["name"] == "colab-devsync"
    assert len({pid_of(editor) for editor in editors}) == 1


def test_a_second_daemon_ends_with_7_and_says_why(place: Place) -> None:
    with place.editor() as editor:
        editor.initialize()
        second = place.start(DAEMON)
        _, said = second.communicate(timeout=30)
        assert second.returncode == 7
        assert f"Another daemon (process {pid_of(editor)})" in said.decode()


def test_a_socket_left_behind_is_replaced(place: Place) -> None:
    with place.editor() as editor:
        editor.initialize()
        os.kill(pid_of(editor), signal.SIGKILL)
        assert editor.process.wait(30) == 1
    assert place.sockets(), "a killed daemon can't remove its socket"
    with place.editor() as editor:
        editor.initialize()
        assert pid_of(editor) == place.daemon_pids()[0]


def test_the_pump_fails_when_the_daemon_is_killed(place: Place) -> None:
    with place.editor() as editor:
        editor.initialize()
        os.kill(pid_of(editor), signal.SIGKILL)
        assert editor.process.wait(30) == 1
        assert "daemon ended" in editor.stderr()


def test_sigterm_ends_the_daemon_and_removes_its_socket(place: Place) -> None:
    with place.editor() as editor:
        editor.initialize()
        os.kill(pid_of(editor), signal.SIGTERM)
        assert editor.process.wait(30) == 1
        place.wait_daemon_gone(30)
    assert place.sockets() == []


def test_the_daemon_ends_a_while_after_the_last_client(place: Place) -> None:
    place.env["COLAB_DEVSYNC_LINGER_S"] = "0.2"
    with place.editor() as editor:
        editor.initialize()
        assert editor.leave() == 0
    place.wait_daemon_gone(30)
    assert place.sockets() == []


def test_a_project_nobody_looks_at_is_closed_while_the_daemon_lives(
    place: Place, project: Path
) -> None:
    place.env["COLAB_DEVSYNC_LINGER_S"] = "0.3"
    with place.editor() as editor:
        editor.initialize()
        assert place.run("status", cwd=project).returncode == 0
        deadline, pause = time.monotonic() + 30, threading.Event()
        while editor.request("colabDevsync/daemon", {})["projects"]:
            assert time.monotonic() < deadline
            pause.wait(0.02)
        # Whoever comes back gets a new session.
        with place.editor() as other:
            other.initialize(project, options={"autoConnect": False})
            assert other.command("status")
            assert editor.request("colabDevsync/daemon", {})["projects"]


def test_daemon_stop_returns_when_it_has_ended(place: Place) -> None:
    with place.editor() as editor:
        editor.initialize()
        pid = pid_of(editor)
        done = place.run("--json", "daemon", "stop")
        assert json.loads(done.stdout) == {"stopped": True, "pid": pid}
        assert place.is_daemon_gone()
    again = place.run("--json", "daemon", "stop")
    assert json.loads(again.stdout) == {"stopped": False}


def test_the_folder_and_socket_are_private(place: Place) -> None:
    place.runtime.mkdir(mode=0o755)
    with place.editor() as editor:
        editor.initialize()
        (path,) = place.sockets()
        assert stat.S_IMODE(place.runtime.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_runtime_folder_that_is_none_is_refused(place: Place) -> None:
    place.runtime.write_text("not a folder")
    with place.editor() as editor:
        assert editor.process.wait(30) == 1
        assert "COLAB_DEVSYNC_RUNTIME_DIR" in editor.stderr()
    place.runtime.unlink()


@pytest.mark.skipif(sys.platform == "win32", reason="has no Unix sockets")
def test_a_runtime_folder_with_a_long_name_works(place: Place, tmp_path: Path) -> None:
    place.runtime = place.folder / ("long" * 30)
    place.env["COLAB_DEVSYNC_RUNTIME_DIR"] = str(place.runtime)
    # The socket moves to a short folder of the user's.
    place.env["TMPDIR"] = tempfile.mkdtemp(dir=place.folder)
    with place.editor() as editor:
        editor.initialize()
        assert place.sockets() == []
        assert pid_of(editor) == place.daemon_pids()[0]


def test_over_tcp_only_those_with_the_secret_get_in(place: Place) -> None:
    place.env["COLAB_DEVSYNC_TRANSPORT"] = "tcp"
    with place.editor() as editor:
        editor.initialize()
        (path,) = place.sockets()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        body = json.loads(path.read_text())
        for line in (b'{"secret": "guess"}\n', b"{}\n", b"GET / HTTP/1.1\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", body["port"]), 60) as stranger:
                stranger.sendall(line)
                assert stranger.recv(100) == b""
        assert pid_of(editor) == place.daemon_pids()[0]


def test_a_daemon_that_cannot_start_is_quoted(place: Place, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    (broken / "pygls").mkdir(parents=True)
    (broken / "pygls" / "__init__.py").write_text("raise RuntimeError('no pygls')")
    place.env["PYTHONPATH"] = str(broken)
    done = place.run("status", "--project", str(tmp_path))
    assert done.returncode == 2  # no project: found before anything is started
    (tmp_path / ".colabremote.toml").write_text('[link]\nprovider = "sandbox"\n')
    done = place.run("status", "--project", str(tmp_path))
    assert done.returncode == 1
    assert b"RuntimeError: no pygls" in done.stderr
    assert b"--in-process" in done.stderr


def test_modules_in_the_project_are_not_mistaken_for_ours(
    place: Place, project: Path
) -> None:
    for name in ("socket", "platform", "queue", "logging", "pygls", "click"):
        (project / f"{name}.py").write_text("raise SystemExit('wrong module')")
    with place.editor(cwd=project) as editor:
        editor.initialize()
        assert editor.leave() == 0
    done = place.run("daemon", "status", cwd=project)
    assert done.returncode == 0, done.stderr
