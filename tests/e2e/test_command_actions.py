"""Commands as lenses and code actions, with results that any editor can show."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.place import SANDBOX, Place
from tests.e2e.projects import write_config
from tests.e2e.wire_client import Editor
from tests.support.remotes import Remote

OFFLINE = {"autoConnect": False}
SOURCE = (
    'def main():\n    print("trained")\n\n\nif __name__ == "__main__":\n    main()\n'
)
MOST = 20  # that JetBrains IDEs show


def lenses(editor: Editor, path: Path) -> list[dict[str, object]]:
    params = {"textDocument": {"uri": path.as_uri()}}
    found: list[dict[str, object]] = editor.request("textDocument/codeLens", params)
    return found


def test_lenses_stand_above_the_guard(place: Place, project: Path) -> None:
    script = project / "train.py"
    with place.editor() as editor:
        editor.initialize(project, options=OFFLINE)
        editor.open(script, SOURCE, "python")
        found = lenses(editor, script)
        titles = [one["command"]["title"] for one in found]  # type: ignore[index]
        assert titles == ["Run on Colab", "Debug on Colab"]
        assert all(one["range"]["start"]["line"] == 4 for one in found)  # type: ignore[index]
        editor.change(script, "x = (\n" + SOURCE)
        assert lenses(editor, script)[0]["range"]["start"]["line"] == 5  # type: ignore[index]

        outside = project.parent / "other.py"
        editor.open(outside, SOURCE, "python")
        assert lenses(editor, outside) is None


def logged(editor: Editor) -> list[str]:
    told = [one for one in editor.said if one["method"] == "window/logMessage"]
    return [one["params"]["message"] for one in told]


def test_a_lens_runs_the_file_and_any_editor_sees_it(
    place: Place, project: Path
) -> None:
    script = project / "train.py"
    script.write_text(SOURCE)
    with place.editor() as editor:
        editor.initialize(project, options=OFFLINE)
        editor.open(script, SOURCE, "python")
        run = lenses(editor, script)[0]["command"]
        assert isinstance(run, dict)
        done = editor.finished(editor.execute(run))
        assert done["state"] == "done", done
        editor.wait_for("window/logMessage", lambda m: m["message"] == "trained")
        assert "" not in logged(editor)  # print() writes the end of a line by itself
        name = done["result"]["run"]
        shown = editor.wait_for("window/showMessage", lambda m: "exit" in m["message"])
        assert shown["message"] == f"{name} ended with exit code 0."


def test_our_own_extension_is_not_shown_what_it_shows_itself(
    place: Place, project: Path
) -> None:
    script = project / "train.py"
    with place.editor() as editor:
        editor.initialize(project, options={**OFFLINE, "showsOutput": True})
        editor.open(script, SOURCE, "python")
        command = lenses(editor, script)[0]["command"]
        assert command["arguments"] == [  # type: ignore[index]
            {"folder": str(project), "file": str(script)}
        ]


def test_every_useful_command_is_an_action(place: Place, project: Path) -> None:
    script, config = project / "train.py", project / ".colabremote.toml"
    with place.editor() as editor:
        offered = editor.initialize(project, options=OFFLINE)["capabilities"]
        editor.open(script, SOURCE, "python")
        editor.open(config, SANDBOX)
        in_python, in_config = editor.actions(script, 0), editor.actions(config, 0)
        assert len(in_python) <= MOST
        assert list(in_python)[:2] == [
            "Run train.py on Colab",
            "Debug train.py on Colab",
        ]
        assert "Run the project on Colab" in in_config
        known = set(offered["executeCommandProvider"]["commands"])
        for action in (*in_python.values(), *in_config.values()):
            assert action["command"]["command"] in known
            assert action["kind"].startswith("source.colabDevsync.")
        assert "Connect to Colab" in in_python
        assert "Disconnect from Colab" not in in_python
        assert editor.actions(script, 0, only=["quickfix"]) == {}
        only = editor.actions(script, 0, only=["source.colabDevsync.run"])
        assert list(only) == ["Run train.py on Colab"]
        outside = project.parent / "other.py"
        editor.open(outside, SOURCE, "python")
        assert editor.actions(outside, 0) == {}


def test_an_action_shows_its_result(place: Place, project: Path) -> None:
    script = project / "train.py"
    with place.editor() as editor:
        editor.initialize(project, options=OFFLINE)
        editor.open(script, SOURCE, "python")
        status = editor.actions(script, 0)["Show the status of the VM"]
        editor.execute(status["command"])
        shown = editor.wait_for("window/showMessage")
        assert shown["message"] == "segmentation is offline."
        connect = editor.actions(script, 0)["Connect to Colab"]
        assert editor.finished(editor.execute(connect["command"]))["state"] == "done"
        editor.wait_for("window/showMessage", lambda m: "online" in m["message"])
        assert "Disconnect from Colab" in editor.actions(script, 0)


def test_a_client_without_literals_gets_commands(place: Place, project: Path) -> None:
    script = project / "train.py"
    old = {"textDocument": {"codeAction": {"dynamicRegistration": False}}}
    with place.editor() as editor:
        editor.initialize(project, options=OFFLINE, capabilities=old)
        editor.open(script, SOURCE, "python")
        run = editor.actions(script, 0)["Run train.py on Colab"]
        assert run["command"] == "devsync.run"
        assert "kind" not in run


def test_a_conflict_is_compared_and_decided(
    place: Place, tmp_path: Path, remote: Remote
) -> None:
    here = tmp_path / "segmentation"
    here.mkdir()
    script = here / "train.py"
    script.write_text("print('one')\n")
    write_config(here, remote)
    shows = {"window": {"workDoneProgress": True, "showDocument": {"support": True}}}
    answers = {"window/showDocument": lambda p: {"success": True}}
    with place.editor(answers=answers) as editor:
        editor.initialize(here, options=OFFLINE, capabilities=shows)
        assert editor.job("sync")["state"] == "done"
        (remote.root / "train.py").write_text("print('theirs')\n")
        editor.save(script, "print('mine')\n")
        (found,) = editor.diagnostics(
            script, lambda d: d and "The VM's version: /" in d[0]["message"]
        )
        actions = editor.actions(script, 0, [found], ["quickfix"])
        versions = editor.execute(actions["Compare with the VM's version"]["command"])
        assert versions["local"] == str(script)
        assert Path(versions["remote"]).read_text() == "print('theirs')\n"
        asked = editor.wait_asked("window/showDocument")
        assert "selection" in asked
        page = Path(asked["uri"].removeprefix("file://"))
        assert "-print('theirs')\n+print('mine')\n" in page.read_text()

        heard = len(editor.said)
        mine = editor.execute(actions["Keep my version"]["command"])
        assert editor.finished(mine)["state"] == "done"
        editor.diagnostics(script, lambda d: not d, start=heard)
        assert (remote.root / "train.py").read_text() == "print('mine')\n"
        gone = {"folder": str(here), "path": "train.py"}
        assert editor.job("resolve", {**gone, "keep": "local"})["state"] == "failed"
