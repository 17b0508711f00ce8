"""An editor and runs: output to who asked, states to all, failures on the files."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.place import Place
from tests.e2e.projects import write_config
from tests.e2e.runs_there import ALL_BYTES, ended_afterwards, is_alive, write_programs
from tests.e2e.wire_client import Editor, RpcError
from tests.support.remotes import Remote

RUN, OUTPUT = "colabDevsync/run", "colabDevsync/output"


@pytest.fixture
def here(tmp_path: Path, remote: Remote) -> Iterator[Path]:
    folder = tmp_path / "segmentation"
    folder.mkdir()
    write_programs(folder)
    write_config(folder, remote)
    with ended_afterwards(remote):
        yield folder


@pytest.fixture
def editor(place: Place, here: Path) -> Iterator[Editor]:
    with place.editor() as editor:
        editor.initialize(here)
        yield editor


def run(editor: Editor, **what: Any) -> dict[str, Any]:
    body = editor.job("run", what)
    assert body["state"] == "done", body
    result: dict[str, Any] = body["result"]
    return result


def ended(editor: Editor, run_id: str, start: int = 0) -> dict[str, Any]:
    """The last that is said of a run that this editor listens to."""
    body: dict[str, Any] = editor.wait_for(
        RUN, lambda p: p["run"] == run_id and p.get("attached") is False, start=start
    )
    return body


def is_last(message: dict[str, Any]) -> bool:
    return message["method"] == RUN and message["params"].get("attached") is False


def output(
    editor: Editor, run_id: str, stream: str, start: int = 0, offset: int = 0
) -> bytes:
    """All of it from `offset` on, in order, each byte once."""
    data = b""
    for message in editor.said[start:]:
        params = message.get("params") or {}
        if message["method"] != OUTPUT or params["run"] != run_id:
            continue
        if params["stream"] == stream:
            assert params["offset"] == offset + len(data)
            data += params["text"].encode("utf-8", "surrogateescape")
    return data


def outputs(editor: Editor) -> list[Any]:
    return [one for one in editor.said if one["method"] == OUTPUT]


def test_a_run_answers_at_once_and_its_output_follows(
    editor: Editor, here: Path, remote: Remote
) -> None:
    started = editor.command("run", {"file": (here / "bytes.py").as_uri()})
    assert started["state"] == "started"
    body = editor.request("colabDevsync/wait", {"job": started["job"]})
    assert set(body["result"]) == {"run", "pid"}
    run_id = body["result"]["run"]
    last = ended(editor, run_id)
    assert last == {
        "folder": str(here),
        "run": run_id,
        "kind": "run",
        "state": "exited",
        "attached": False,
        "pid": body["result"]["pid"],
        "exitCode": 3,
    }
    assert output(editor, run_id, "stdout") == ALL_BYTES
    assert output(editor, run_id, "stderr") == ALL_BYTES[::-1]
    told = [one for one in editor.said if one["method"] == OUTPUT or is_last(one)]
    assert told[-1]["params"] == last  # nothing after the end
    running = editor.wait_for(RUN, lambda p: p["state"] == "running")
    assert running["run"] == run_id


def test_what_was_saved_runs(editor: Editor, here: Path, remote: Remote) -> None:
    for number in range(3):
        editor.save(here / "args.py", f"print({number})\n")
        run_id = run(editor, file="args.py")["run"]
        ended(editor, run_id)
        assert output(editor, run_id, "stdout") == b"%d\n" % number
    (here / "pkg" / "__main__.py").write_text("import sys\nprint(sys.argv[1:])\n")
    run_id = run(editor, module="pkg", args=["a b"])["run"]
    ended(editor, run_id)
    assert output(editor, run_id, "stdout") == b"['a b']\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"file": "gone.py"}, "no file"),
        ({"file": "/etc/hosts"}, "not in the project"),
        ({"file": "args.py", "module": "pkg"}, "not both"),
        ({"args": [1]}, "'args'"),
        ({"file": "args.py", "arg": []}, "Did you mean 'args'?"),
    ],
)
def test_what_cannot_be_run_is_refused(
    editor: Editor, arguments: dict[str, Any], said: str, remote: Remote
) -> None:
    with pytest.raises(RpcError, match=said):
        editor.command("run", arguments)


def test_nothing_to_run_and_unknown_runs(editor: Editor, remote: Remote) -> None:
    body = editor.job("run", {})
    assert (body["state"], body["error"]["code"]) == ("failed", "RunError")
    unknown = {"run": "train-9"}
    for ask in (
        lambda: editor.request("colabDevsync/attach", unknown),
        lambda: editor.command("stop", unknown),
    ):
        with pytest.raises(RpcError, match="no run train-9") as caught:
            ask()
        assert caught.value.data["code"] == "UnknownRun"
        assert caught.value.data["exitCode"] == 6
    with pytest.raises(RpcError, match="numbers of bytes"):
        editor.request("colabDevsync/attach", {"run": "x-1", "offsets": {"stdout": -1}})


def test_output_goes_to_who_listens_and_states_to_all(
    place: Place, editor: Editor, here: Path, remote: Remote
) -> None:
    with place.editor() as other:
        other.initialize(here)
        other.wait_for("colabDevsync/status", lambda p: p["link"] == "online")
        started = run(editor, file="polite.py")
        run_id = started["run"]
        editor.wait_for(OUTPUT)
        other.wait_for(RUN, lambda p: p["run"] == run_id and p["state"] == "running")
        assert outputs(other) == []

        params = {"folder": str(here), "run": run_id}
        found = other.request("colabDevsync/attach", params)
        assert (found["run"], found["state"]) == (run_id, "running")
        pid = f"{started['pid']}\n".encode()
        other.wait_for(OUTPUT, lambda _: output(other, run_id, "stdout") == pid)
        assert other.request("colabDevsync/detach", params)["detached"] is True
        assert other.request("colabDevsync/detach", params)["detached"] is False

        heard = len(other.said)
        assert editor.command("stop", {"run": run_id})["run"] == run_id
        assert ended(editor, run_id)["exitCode"] == 42
        assert output(editor, run_id, "stdout") == pid + b"bye\n"
        told = other.wait_for(RUN, lambda p: p["state"] == "exited", start=heard)
        assert (told["run"], told["exitCode"]) == (run_id, 42)
        assert "attached" not in told
        assert output(other, run_id, "stdout") == pid

        heard = len(other.said)
        offsets = {"stdout": len(pid)}
        other.request("colabDevsync/attach", {**params, "offsets": offsets})
        assert ended(other, run_id, heard)["exitCode"] == 42
        assert output(other, run_id, "stdout", heard, len(pid)) == b"bye\n"


def test_a_run_outlives_its_editor(place: Place, here: Path, remote: Remote) -> None:
    with place.editor() as first:
        first.initialize(here)
        started = run(first, file="polite.py")
        assert first.leave() == 0
    assert is_alive(started["pid"])
    with place.editor() as second:
        second.initialize(here)
        second.wait_for("colabDevsync/status", lambda p: p["link"] == "online")
        (found,) = second.command("runs")["runs"]
        assert (found["run"], found["state"]) == (started["run"], "running")
        second.request("colabDevsync/attach", {"run": found["run"]})
        os.kill(started["pid"], signal.SIGINT)
        assert ended(second, found["run"])["exitCode"] == 42
        out = output(second, found["run"], "stdout")
        assert out == f"{started['pid']}\nbye\n".encode()


def test_without_a_connection_runs_are_what_is_known(
    place: Place, here: Path, remote: Remote
) -> None:
    with place.editor() as editor:
        editor.initialize(here, options={"autoConnect": False})
        assert editor.command("runs") == {"runs": [], "stale": True}


# --- failures -------------------------------------------------------------------------


def test_a_traceback_is_shown_on_the_local_files_until_the_next_run(
    place: Place, editor: Editor, here: Path, remote: Remote
) -> None:
    run_id = run(editor, file="fails.py")["run"]
    (found,) = editor.diagnostics(here / "pkg" / "inner.py", len)
    assert found["source"] == "colab-devsync"
    assert (found["code"], found["severity"]) == ("traceback", 1)
    first, second = found["message"].splitlines()
    assert first.startswith("json.decoder.JSONDecodeError: Expecting")
    assert second.startswith("raised at /")
    assert second.endswith(", in raw_decode")
    assert found["range"]["start"] == {"line": 2, "character": 0}
    related = [
        (one["location"]["uri"], one["location"]["range"]["start"]["line"])
        for one in found["relatedInformation"]
    ]
    uri = (here / "fails.py").as_uri()
    assert related == [(uri, 2), (uri, 3)]
    ended(editor, run_id)

    with place.editor() as late:
        late.initialize(here)
        assert late.diagnostics(here / "pkg" / "inner.py", len) == [found]
        heard = len(editor.said)
        run(editor, file="args.py")
        for each, start in ((editor, heard), (late, 0)):
            each.diagnostics(here / "pkg" / "inner.py", lambda d: not d, start)


def test_runs_of_a_terminal_are_shown_too(
    place: Place, editor: Editor, here: Path, remote: Remote
) -> None:
    editor.wait_for("colabDevsync/status", lambda p: p["link"] == "online")
    assert place.run("run", "broken.py", cwd=here).returncode == 1
    (found,) = editor.diagnostics(here / "broken.py", len)
    assert found["message"].startswith("SyntaxError")
    assert found["range"]["start"]["line"] == 1
    heard = len(editor.said)
    assert place.run("run", "--detach", "fails.py", cwd=here).returncode == 0
    editor.diagnostics(here / "broken.py", lambda d: not d, heard)
    editor.diagnostics(here / "pkg" / "inner.py", len, heard)


def test_a_stopped_run_has_not_failed(
    editor: Editor, here: Path, remote: Remote
) -> None:
    run_id = run(editor, file="numbers.py")["run"]
    editor.wait_for(OUTPUT)
    editor.command("stop", {"run": run_id})
    ended(editor, run_id)
    assert b"KeyboardInterrupt" in output(editor, run_id, "stderr")
    (here / "fails.py").write_text("1/0\n")
    run(editor, file="fails.py")
    editor.diagnostics(here / "fails.py", len)
    published = [
        one["params"]
        for one in editor.said
        if one["method"] == "textDocument/publishDiagnostics"
    ]
    stopped = (here / "numbers.py").as_uri()
    assert [one for one in published if one["uri"] == stopped] == []
