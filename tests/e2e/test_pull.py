"""`pull`, `devsync.pull` and what editors hear of files that come home."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.place import Place
from tests.e2e.projects import write_config
from tests.support.remotes import Remote

RULE = '[[pull]]\nremote = "out"\nlocal = "results"\ninclude = ["*.pt"]\n'


@pytest.fixture
def here(tmp_path: Path, remote: Remote) -> Path:
    folder = tmp_path / "segmentation"
    folder.mkdir()
    write_config(folder, remote)
    config = folder / ".colabremote.toml"
    config.write_text(config.read_text() + RULE)
    (remote.root / "out").mkdir()
    return folder


def test_the_command_line_fetches_and_says_how_it_stands(
    place: Place, here: Path, remote: Remote
) -> None:
    (remote.root / "out" / "a.pt").write_bytes(b"12345")
    done = place.run("--json", "pull", cwd=here)
    assert json.loads(done.stdout) == {"files": 1, "bytes": 5}, done.stderr
    assert (here / "results" / "a.pt").read_bytes() == b"12345"
    shown = place.run("pull", "results", cwd=here).stdout.decode()
    assert shown.startswith("0 files pulled (0 B).\nresults: watching; 1 here")
    status = json.loads(place.run("--json", "status", cwd=here).stdout)
    [pull] = status["pulls"]
    wanted = {"name": "results", "here": 1, "waiting": 0, "waitingBytes": 0}
    assert wanted.items() <= {**pull}.items()
    assert pull["newest"] == "a.pt"
    text = place.run("status", cwd=here).stdout.decode()
    assert "newest: a.pt" in text


def test_mistakes_have_their_exit_codes(
    place: Place, here: Path, remote: Remote
) -> None:
    unknown = place.run("pull", "nope", cwd=here)
    assert unknown.returncode == 2
    assert b"There is: results." in unknown.stderr
    (remote.root / "out").rmdir()
    (remote.root / "out").write_bytes(b"")
    refused = place.run("pull", cwd=here)
    assert refused.returncode == 5
    assert b"it is a file, not a folder" in refused.stderr


def test_an_editor_sees_progress_files_and_state(
    place: Place, here: Path, remote: Remote
) -> None:
    editor = place.editor(cwd=here)
    editor.initialize(here)
    editor.wait_for("colabDevsync/status", lambda body: body["link"] == "online")
    (remote.root / "out" / "a.pt").write_bytes(b"12345")
    pulled = editor.wait_for("colabDevsync/pulled")
    assert {**pulled} == {
        "folder": str(here),
        "name": "results",
        "path": "a.pt",
        "bytes": 5,
    }
    stand = editor.wait_for(
        "colabDevsync/pulls", lambda body: body["pulls"][0]["here"] == 1
    )
    assert stand["folder"] == str(here)
    done = editor.job("pull", {"name": "results"})
    assert done["result"] == {"files": 1, "bytes": 5}
