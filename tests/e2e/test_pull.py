"""`pull`, `devsync.pull` and what editors hear of files that come home."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest

from tests.e2e.place import Place
from tests.e2e.projects import write_config
from tests.e2e.test_cli_and_vm import wait_until
from tests.support.remotes import Remote
from tests.support.unprivileged import without_powers

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
    if sys.platform == "linux":  # others do not tell
        wait_until(lambda: up_since(place, here) > status["vm"]["uptime_s"], 20)
    place.run("daemon", "stop", cwd=here)
    status = json.loads(place.run("--json", "status", cwd=here).stdout)
    known = {key: pull[key] for key in ("name", "local", "here", "newest", "newestAt")}
    assert {"state": "offline", **known}.items() <= {**status["pulls"][0]}.items()
    assert place.run("connect", cwd=here).returncode == 0
    text = place.run("status", cwd=here).stdout.decode()
    assert "newest: a.pt" in text


def up_since(place: Place, here: Path) -> float:
    """Seconds, as the VM says when it is asked."""
    status = json.loads(place.run("--json", "status", cwd=here).stdout)
    return float(status["vm"]["uptime_s"])


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


def test_a_file_that_is_not_ours_stays_and_is_told(
    place: Place, here: Path, remote: Remote
) -> None:
    (here / "results").mkdir()
    (here / "results" / "a.pt").write_bytes(b"mine")
    (remote.root / "out" / "a.pt").write_bytes(b"theirs")
    shown = place.run("pull", cwd=here)
    assert shown.returncode == 0, shown.stderr
    text = shown.stdout.decode()
    assert text.startswith("1 file pulled (6 B).\n")
    assert "results/a.pt: There is a file here that is not the one on the VM" in text
    assert "a.from-vm.pt. Rename or delete one of them." in text
    assert (here / "results" / "a.pt").read_bytes() == b"mine"
    body = json.loads(place.run("--json", "pull", cwd=here).stdout)
    assert [one["path"] for one in body["problems"]] == ["results/a.pt"]
    (here / "results" / "a.pt").unlink()
    wait_until(lambda: not problems(place, here))
    assert json.loads(place.run("--json", "pull", cwd=here).stdout) == {
        "files": 0,
        "bytes": 0,
    }


def problems(place: Place, here: Path) -> list[object]:
    found = json.loads(place.run("--json", "status", cwd=here).stdout)["problems"]
    return list(found)


@pytest.mark.openssh
def test_following_goes_on_past_what_fails_until_ctrl_c(
    place: Place, here: Path, remote: Remote
) -> None:
    (here / "results").write_bytes(b"in the way")
    (remote.root / "out" / "a.pt").write_bytes(b"one")
    command = [sys.executable, "-m", "colab_devsync", "--project", str(here)]
    process = place.start([*command, "pull", "--follow"])
    assert process.stdout is not None
    assert process.stderr is not None
    assert b"Ctrl-C ends" in process.stderr.readline()
    assert b"results/a.pt: It could not be pulled" in process.stderr.readline()
    (here / "results").unlink()
    (remote.root / "out" / "a.pt").write_bytes(b"twice")
    assert process.stdout.readline().endswith(b"results/a.pt  5 B\n")
    assert (here / "results" / "a.pt").read_bytes() == b"twice"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130


@pytest.mark.openssh
@pytest.mark.skipif(sys.platform != "linux", reason="capabilities of Linux")
def test_a_folder_here_that_may_not_be_written(
    place: Place, here: Path, remote: Remote
) -> None:
    (here / "results").mkdir(mode=0o555)
    (remote.root / "out" / "a.pt").write_bytes(b"one")
    command = [*without_powers(), sys.executable, "-m", "colab_devsync"]
    process = place.start([*command, "--project", str(here), "pull"])
    _, said = process.communicate(timeout=60)
    assert process.returncode == 5, said
    assert b"results/a.pt: It could not be pulled: permission denied here" in said
    assert b"next:" in said
    status = json.loads(place.run("--json", "status", cwd=here).stdout)
    assert status["pulls"][0]["state"] == "failed"
    assert "permission denied here" in status["pulls"][0]["message"]
    (here / "results").chmod(0o755)
    done = place.run("--json", "pull", cwd=here)
    assert json.loads(done.stdout) == {"files": 1, "bytes": 3}, done.stderr
