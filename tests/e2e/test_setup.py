"""`setup`: an editor's files, written without harm to those that are there."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from colab_devsync.daemon.editors import EDITORS
from tests.e2e.place import SANDBOX, Place
from tests.e2e.test_terminal import Terminal
from tests.e2e.wire_client import Editor

THEIRS = '{\n  // mine\n  "configurations": []\n}\n'


def setup(place: Place, project: Path, *arguments: str) -> dict[str, Any]:
    done = place.run("--json", "setup", *arguments, cwd=project)
    found: dict[str, Any] = json.loads(done.stdout)
    is_whole = "--dry-run" in arguments or "skipped" not in states(found).values()
    assert done.returncode == (0 if is_whole else 1), done.stderr
    return found


def states(body: dict[str, Any]) -> dict[str, str]:
    return {Path(one["path"]).name: one["state"] for one in body["files"]}


def test_what_is_there_is_changed_with_consent_only_and_only_once(
    place: Place, project: Path
) -> None:
    launch = project / ".vscode" / "launch.json"
    launch.parent.mkdir()
    launch.write_bytes(THEIRS.replace("\n", "\r\n").encode())
    (launch.parent / "tasks.json").write_bytes(b"\xff\xfe{}")

    planned = setup(place, project, "vscode", "--dry-run")
    assert states(planned) == {
        "extensions.json": "planned",
        "launch.json": "planned",
        "tasks.json": "skipped",
    }
    assert "// mine" in planned["files"][1]["text"]
    assert not (launch.parent / "extensions.json").exists()

    first = setup(place, project, "vscode")
    assert states(first) == {
        "extensions.json": "written",
        "launch.json": "skipped",
        "tasks.json": "skipped",
    }
    assert launch.read_bytes() == THEIRS.replace("\n", "\r\n").encode()
    assert "colab-devsync" in first["files"][1]["text"]
    assert "utf-8" in first["files"][2]["reason"]

    assert states(setup(place, project, "vscode", "--yes"))["launch.json"] == "written"
    text = launch.read_bytes()
    assert b"// mine\r\n" in text
    assert text.count(b"\n") == text.count(b"\r\n")
    again = setup(place, project, "vscode", "--yes")
    assert states(again)["launch.json"] == "unchanged"
    assert launch.read_bytes() == text


def test_a_second_time_changes_nothing(place: Place, project: Path) -> None:
    place.env["XDG_CONFIG_HOME"] = str(place.home / "xdg")
    subprocess.run(["git", "init", "-q", project], check=True)

    def contents() -> dict[str, tuple[bytes, int]]:
        folders = (project, place.home / "xdg")
        paths = [path for one in folders for path in one.rglob("*") if path.is_file()]
        return {str(one): (one.read_bytes(), one.stat().st_mtime_ns) for one in paths}

    for editor in EDITORS:
        written = setup(place, project, editor, "--yes")
        assert set(states(written).values()) == {"written"}
    before = contents()
    for editor in EDITORS:
        again = setup(place, project, editor)  # nothing is left to be agreed to
        assert set(states(again).values()) == {"unchanged"}
    assert contents() == before


def test_a_person_reads_what_was_done_and_what_is_left(
    place: Place, project: Path
) -> None:
    run = project / ".run" / "Colab run.run.xml"
    run.parent.mkdir()
    run.write_text("<component/>")
    done = place.run("setup", "pycharm", cwd=project)
    assert done.returncode == 1, done.stderr
    said = done.stdout.decode()
    assert re.search(r"^written +\S+/\.idea/sshConfigs\.xml", said, re.M)
    assert "it is there and differs; delete it to have it written anew" in said
    assert 'type="ShConfigurationType"' in said
    assert "Add Interpreter > On SSH" in said
    assert run.read_text() == "<component/>"


def test_a_person_at_a_terminal_is_asked(place: Place, project: Path) -> None:
    launch = project / ".vscode" / "launch.json"
    launch.parent.mkdir()
    launch.write_text(THEIRS)
    terminal = Terminal(place, project, "setup", "vscode")
    terminal.read_until(r"(?s)Change these files\?.*launch\.json .*\(Write, No\): $")
    assert launch.read_text() == THEIRS
    terminal.type("Write\n")
    assert terminal.end() == 0, terminal.text
    assert "// mine" in launch.read_text()
    assert "colab-devsync" in launch.read_text()


@pytest.mark.parametrize(("answer", "state"), [(0, "written"), (1, "skipped")])
def test_an_editor_asks_before_it_touches_what_is_there(
    place: Place, project: Path, answer: int, state: str
) -> None:
    subprocess.run(["git", "init", "-q", project], check=True)
    exclude = project / ".git" / "info" / "exclude"
    exclude.write_text("*.bak\n")

    def choose(params: Any) -> Any:
        return params["actions"][answer]

    with place.editor(answers={"window/showMessageRequest": choose}) as editor:
        editor.initialize(project, options={"autoConnect": False})
        done = editor.job("setup", {"editor": "pycharm", "show": True})
        assert done["state"] == "done", done
        asked = editor.wait_asked("window/showMessageRequest")
        assert str(exclude) in asked["message"]
        assert ".idea" not in asked["message"]
        shown = editor.wait_for("window/showMessage")["message"]
        assert f"{exclude}: {state}" in shown
        assert "What is left to do:\n1. Install the plugin LSP4IJ" in shown
    found = states(done["result"])
    assert found["exclude"] == state
    assert found["sshConfigs.xml"] == "written"
    lines = exclude.read_text().splitlines()
    assert lines[0] == "*.bak"
    assert ("/.idea/sshConfigs.xml" in lines) is (state == "written")


def test_files_outside_of_the_project_need_consent(place: Place, project: Path) -> None:
    place.env["XDG_CONFIG_HOME"] = str(place.home / "xdg")
    first = setup(place, project, "neovim")
    assert set(states(first).values()) == {"skipped"}
    assert not (place.home / "xdg").exists()
    second = setup(place, project, "neovim", "--yes")
    assert set(states(second).values()) == {"written"}
    assert (place.home / "xdg" / "nvim" / "lsp" / "colab_devsync.lua").is_file()
    own = setup(place, project, "emacs")
    assert states(own) == {"colab-devsync.el": "written"}
    assert own["files"][0]["path"] in own["steps"][0]


def test_pycharm_gets_the_port_that_ssh_has(place: Place, project: Path) -> None:
    before = ssh_port(setup(place, project, "pycharm"), project)
    shown = place.run("--json", "ssh-config", "--print", cwd=project)
    assert f"Port {before}\n" in json.loads(shown.stdout)["text"]
    (project / ".colabremote.toml").write_text(f"{SANDBOX}[ssh]\nlocal_port = 29999\n")
    place.run("daemon", "stop")
    assert ssh_port(setup(place, project, "pycharm", "--yes"), project) == 29999


def ssh_port(body: dict[str, Any], project: Path) -> int:
    assert states(body)["sshConfigs.xml"] == "written"
    text = (project / ".idea" / "sshConfigs.xml").read_text()
    found = re.search(r'port="(\d+)"', text)
    assert found is not None
    return int(found[1])


def test_two_uploaders_are_refused(place: Place, project: Path) -> None:
    done = place.run("setup", "pycharm", "--upload-by", "pycharm", cwd=project)
    assert done.returncode == 2
    assert b"watch = false" in done.stderr
    assert not (project / ".idea").exists()
    (project / ".colabremote.toml").write_text(f"{SANDBOX}[sync]\nwatch = false\n")
    setup(place, project, "pycharm", "--upload-by", "pycharm")
    text = (project / ".idea" / "deployment.xml").read_text()
    assert 'autoUpload="Always"' in text
    assert place.run("setup", "zed", "--upload-by", "pycharm").returncode == 2


def test_an_unknown_editor_is_named(place: Place, project: Path) -> None:
    editor: Editor
    with place.editor() as editor:
        editor.initialize(project, options={"autoConnect": False})
        with pytest.raises(Exception, match="'editor' can't be 'ed'"):
            editor.command("setup", {"editor": "ed"})
