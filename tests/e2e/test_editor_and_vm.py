"""An editor (raw JSON-RPC over stdio) and a real VM: connect, save, decide, leave."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.place import Place
from tests.e2e.projects import write_config
from tests.e2e.wire_client import Editor, RpcError, nothing
from tests.support.remotes import Remote

OFFLINE = {"autoConnect": False}


@pytest.fixture
def here(tmp_path: Path, remote: Remote) -> Path:
    folder = tmp_path / "segmentation"
    folder.mkdir()
    (folder / "train.py").write_text("print('one')\n")
    write_config(folder, remote)
    return folder


@pytest.fixture
def silent_host() -> Iterator[int]:
    """A port where connections are accepted and nobody ever speaks."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


def is_online(status: dict[str, object]) -> bool:
    return status["link"] == "online"


def test_a_save_is_on_the_vm(place: Place, here: Path, remote: Remote) -> None:
    with place.editor() as editor:
        editor.initialize(here)
        status = editor.wait_for("colabDevsync/status", is_online)
        assert status["folder"] == str(here)
        started = editor.wait_for("$/progress", lambda p: p["value"]["kind"] == "begin")
        assert started["value"]["title"] == "Connecting segmentation"
        assert started["value"]["cancellable"] is True
        editor.wait_for("$/progress", lambda p: p["value"]["kind"] == "end")
        assert (remote.root / "train.py").read_text() == "print('one')\n"

        heard = len(editor.said)
        editor.save(here / "train.py", "print('two')\n")
        body = editor.wait_for(
            "colabDevsync/mirrored", lambda p: p["path"] == "train.py", start=heard
        )
        assert (remote.root / "train.py").read_text() == "print('two')\n"
        assert body["folder"] == str(here)
        assert body["bytes"] > 0
        assert body["ms"] > 0
        assert editor.leave() == 0


def test_nothing_connects_where_the_editor_says_so(
    place: Place, here: Path, remote: Remote
) -> None:
    with place.editor() as editor:
        editor.initialize(here, options=OFFLINE)
        assert editor.command("status")["link"] == "offline"
        done = editor.job("sync")
        assert done["state"] == "done"
        assert done["result"]["files"] == 2
        assert set(done["result"]) == {
            "files",
            "bytes",
            "deleted",
            "conflicts",
            "seconds",
        }
        assert editor.command("status")["link"] == "online"
        assert editor.command("disconnect")["link"] == "offline"


def test_a_configuration_that_appears_later_connects(
    place: Place, here: Path, remote: Remote
) -> None:
    config = here / ".colabremote.toml"
    text = config.read_text()
    config.unlink()
    with place.editor() as editor:
        editor.initialize(here)
        with pytest.raises(RpcError, match="init"):
            editor.command("status")
        editor.save(config, text.replace("provider", "providr"))
        editor.diagnostics(config, len)
        editor.save(config, text)
        editor.diagnostics(config, lambda found: not found)
        editor.wait_for("colabDevsync/status", is_online)


def test_two_editors_and_a_terminal_share_one_session(
    place: Place, here: Path, remote: Remote
) -> None:
    with place.editor() as one, place.editor() as two:
        for editor in (one, two):
            editor.initialize(here)
            # What is saved before the first mirror goes with it, without a word.
            editor.wait_for("colabDevsync/status", lambda body: body["files"] > 0)
        daemon = one.request("colabDevsync/daemon", {})
        assert len(daemon["projects"]) == 1
        one.save(here / "train.py", "print('shared')\n")
        for editor in (one, two):
            editor.wait_for("colabDevsync/mirrored")
        assert place.run("sync", cwd=here).returncode == 0
        assert one.leave() == 0
        heard = len(two.said)
        two.save(here / "train.py", "print('still')\n")
        two.wait_for("colabDevsync/mirrored", start=heard)
        assert (remote.root / "train.py").read_text() == "print('still')\n"


def test_a_project_opened_through_a_link_keeps_the_name_the_editor_knows(
    place: Place, here: Path, remote: Remote, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(here)
    with place.editor() as editor:
        editor.initialize(link)
        status = editor.wait_for("colabDevsync/status", is_online)
        assert status["folder"] == str(link)
        editor.wait_for("$/progress", lambda p: p["value"]["kind"] == "end")
        heard = len(editor.said)
        editor.save(link / "train.py", "print('linked')\n")
        body = editor.wait_for("colabDevsync/mirrored", start=heard)
        assert (body["folder"], body["path"]) == (str(link), "train.py")
        assert editor.command("status")["folder"] == str(link)


def test_a_conflict_is_shown_and_decided(
    place: Place, here: Path, remote: Remote
) -> None:
    local = here / "train.py"
    with place.editor() as editor:
        editor.initialize(here, options=OFFLINE)
        assert editor.job("sync")["state"] == "done"
        (remote.root / "train.py").write_text("print('theirs')\n")
        editor.save(local, "print('mine')\n")
        (found,) = editor.diagnostics(
            local, lambda found: found and "The VM's version: /" in found[0]["message"]
        )
        assert found["code"] == "conflict"
        assert "was changed on the VM" in found["message"]

        (conflict,) = editor.command("conflicts")["conflicts"]
        assert conflict["path"] == "train.py"
        assert Path(conflict["remote_copy"]).read_text() == "print('theirs')\n"

        actions = editor.request(
            "textDocument/codeAction",
            {
                "textDocument": {"uri": local.as_uri()},
                "range": found["range"],
                "context": {"diagnostics": [found], "only": ["quickfix"]},
            },
        )
        assert [a["title"] for a in actions] == [
            "Keep my version",
            "Take the VM's version",
            "Compare with the VM's version",
        ]
        heard = len(editor.said)
        (arguments,) = actions[1]["command"]["arguments"]
        assert editor.job("resolve", arguments)["state"] == "done"
        editor.diagnostics(local, lambda found: not found, start=heard)
        assert local.read_text() == "print('theirs')\n"
        assert editor.command("conflicts") == {"conflicts": []}

        again = editor.job("resolve", arguments)
        assert again["state"] == "failed"
        assert again["error"]["exitCode"] == 5


# --- questions ------------------------------------------------------------------------


def connect_asked(editor: Editor, here: Path) -> dict[str, object]:
    editor.initialize(here, options=OFFLINE)
    return editor.job("connect")


def test_a_host_key_is_asked_about_once(
    place: Place, here: Path, remote: Remote
) -> None:
    write_config(here, remote, host_key=None)
    with place.editor(
        answers={"window/showMessageRequest": lambda p: p["actions"][0]}
    ) as editor:
        done = connect_asked(editor, here)
        assert done["state"] == "done", done
        assert len([m for m in editor.asked if "showMessage" in m["method"]]) == 1
        asked = editor.wait_asked("window/showMessageRequest")
        assert remote.login.fingerprint in asked["message"]
        editor.command("disconnect")
        assert editor.job("connect")["state"] == "done"
        assert len([m for m in editor.asked if "showMessage" in m["method"]]) == 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda p: p["actions"][-1], id="no"),
        pytest.param(nothing, id="dismissed"),
        pytest.param(lambda p: {"title": "Whatever"}, id="nonsense"),
        pytest.param(None, id="never"),
    ],
)
def test_a_host_key_nobody_vouched_for_is_refused(
    place: Place, here: Path, remote: Remote, answer: object
) -> None:
    place.env["COLAB_DEVSYNC_QUESTION_S"] = "1"
    write_config(here, remote, host_key=None)
    answers = {"window/showMessageRequest": answer}
    with place.editor(answers=answers) as editor:
        done = connect_asked(editor, here)
    assert done["state"] == "failed"
    error = done["error"]
    assert isinstance(error, dict)
    assert (error["code"], error["exitCode"]) == ("HostKeyUnknown", 3)
    assert error["hint"]


def test_a_failed_connection_is_shown_in_a_window(
    place: Place, here: Path, remote: Remote
) -> None:
    wrong = "SHA256:uNiVztksCsDhcc0u9e8BrYXiVx4fUYE6QJfX2e6JPj0"
    write_config(here, remote, host_key=wrong)
    with place.editor() as editor:
        editor.initialize(here)
        said = editor.wait_for("window/showMessage")
        assert said["type"] == 1
        assert remote.login.fingerprint in said["message"]
        status = editor.wait_for(
            "colabDevsync/status", lambda s: s["link"] == "blocked"
        )
        assert status["message"]


# --- ending ---------------------------------------------------------------------------


def hanging_connect(editor: Editor, here: Path, remote: Remote, port: int) -> str:
    write_config(here, remote, port=port)
    editor.initialize(here, options=OFFLINE)
    started = editor.command("connect")
    assert started["state"] == "started"  # it fails after 20 s
    editor.wait_for("$/progress", lambda p: p["value"]["kind"] == "begin")
    return str(started["job"])


def test_shutdown_does_not_wait_for_a_job(
    place: Place, here: Path, remote: Remote, silent_host: int
) -> None:
    with place.editor() as editor:
        job = hanging_connect(editor, here, remote, silent_host)
        waiting = editor.start_request("colabDevsync/wait", {"job": job})
        slow = {"command": "devsync.disconnect", "arguments": []}
        pending = editor.start_request("workspace/executeCommand", slow)
        assert editor.leave() == 0
        assert waiting.result(30)["state"] == "cancelled"
        assert pending.done()
        final = editor.wait_for("colabDevsync/job", lambda b: b["state"] != "progress")
        assert (final["job"], final["state"]) == (job, "cancelled")


@pytest.mark.parametrize("by", ["progress", "command"])
def test_a_job_can_be_cancelled(
    place: Place, here: Path, remote: Remote, silent_host: int, by: str
) -> None:
    with place.editor() as editor:
        job = hanging_connect(editor, here, remote, silent_host)
        waiting = editor.start_request("colabDevsync/wait", {"job": job})
        if by == "progress":
            token = editor.wait_for("$/progress")["token"]
            editor.notify("window/workDoneProgress/cancel", {"token": token})
        else:
            answer = editor.command("cancel", {"job": job})
            assert answer == {"job": job, "cancelled": True}
        assert waiting.result(30)["state"] == "cancelled"
        ended = editor.wait_for("$/progress", lambda p: p["value"]["kind"] == "end")
        assert ended["value"]["message"] == "cancelled"
        assert editor.command("cancel", {"job": job})["cancelled"] is False


def test_the_daemon_ends_at_once_in_the_middle_of_a_job(
    place: Place, here: Path, remote: Remote, silent_host: int
) -> None:
    with place.editor() as editor:
        hanging_connect(editor, here, remote, silent_host)
        assert place.run("daemon", "stop").returncode == 0
        assert editor.process.wait(30) == 1
        told = [one["params"] for one in editor.said if "/job" in one["method"]]
        codes = {one["error"]["code"] for one in told if one["state"] == "failed"}
        assert codes <= {"LinkLost"}  # closed; after 20 s it is ConnectFailed
