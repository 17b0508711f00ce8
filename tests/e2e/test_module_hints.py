"""Imports that the VM's Python does not find: hinted at, installed, gone."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import pytest

from tests.e2e.place import Place
from tests.e2e.projects import write_config
from tests.e2e.wire_client import Editor, RpcError
from tests.support.remotes import Remote

SOURCE = """\
import json
import Bio
import helper, onlythere
try:
    import optional_thing
except ImportError:
    optional_thing = None

if __name__ == "__main__":
    import wandb
"""


@pytest.fixture
def here(tmp_path: Path, remote: Remote) -> Path:
    """A project whose VM installs from a folder, into a folder of its own."""
    folder = tmp_path / "segmentation"
    folder.mkdir()
    (folder / "train.py").write_text(SOURCE)
    (folder / "helper.py").write_text("")
    (folder / "wandb").mkdir()
    (folder / "wandb" / "log.txt").write_text("only a folder of that name\n")
    (remote.root / "onlythere.py").write_text("")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    write_wheel(wheels, "biopython", "Bio")
    env = {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_TARGET": str(tmp_path / "site"),
        "PYTHONPATH": str(tmp_path / "site"),
    }
    pairs = ", ".join(f"{key} = {json.dumps(value)}" for key, value in env.items())
    config = write_config(folder, remote)
    with config.open("a") as file:
        file.write(f"python = {json.dumps(sys.executable)}\nenv = {{ {pairs} }}\n")
    return folder


def write_wheel(folder: Path, name: str, module: str) -> None:
    info = f"{name}-1.0.dist-info"
    files = {
        f"{module}/__init__.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)


def hints(editor: Editor, path: Path, count: int, start: int = 0) -> list[str]:
    found = editor.diagnostics(path, lambda found: len(found) == count, start)
    assert all((one["code"], one["severity"]) == ("not-installed", 4) for one in found)
    return [f"{one['range']['start']['line']}: {one['message']}" for one in found]


def test_a_missing_module_is_installed_by_its_action(place: Place, here: Path) -> None:
    script = here / "train.py"
    with place.editor() as editor:
        editor.initialize(here)
        editor.open(script, SOURCE, "python")
        assert hints(editor, script, 2) == [
            "1: Bio is not installed on the VM.",
            "9: wandb is not installed on the VM.",
        ]
        title = "Install biopython on the VM (pip install biopython)"
        actions = editor.actions(script, 1, only=["quickfix"])
        assert list(actions) == [
            title,
            "Install 2 on the VM (pip install biopython wandb)",
        ]
        assert actions[title]["diagnostics"][0]["range"]["end"]["character"] == 10
        heard = len(editor.said)
        done = editor.finished(editor.execute(actions[title]["command"]))
        assert done["state"] == "done", done
        assert done["result"] == {"packages": ["biopython"]}
        left = ["9: wandb is not installed on the VM."]
        assert hints(editor, script, 1, heard) == left

        said = editor.wait_for("window/logMessage")["message"]
        assert said.endswith("-m pip install biopython")
        editor.wait_for("colabDevsync/output", lambda b: "biopython" in b["text"])
        editor.wait_for("window/showMessage", lambda m: "installed" in m["message"])


@pytest.mark.openssh
def test_hints_follow_saves_and_go_with_the_file(place: Place, here: Path) -> None:
    script = here / "train.py"
    with place.editor() as editor:
        editor.initialize(here)
        editor.open(script, SOURCE, "python")
        hints(editor, script, 2)
        heard = len(editor.said)
        changed = SOURCE.replace("import Bio\n", "")
        editor.change(script, changed)
        editor.save(script, changed)
        assert hints(editor, script, 1, heard) == [
            "8: wandb is not installed on the VM."
        ]
        heard = len(editor.said)
        uri = {"uri": script.as_uri()}
        editor.notify("textDocument/didClose", {"textDocument": uri})
        editor.diagnostics(script, lambda found: not found, heard)


@pytest.mark.openssh
def test_an_install_on_the_command_line_counts(place: Place, here: Path) -> None:
    script = here / "train.py"
    with place.editor() as editor:
        editor.initialize(here)
        editor.open(script, SOURCE, "python")
        hints(editor, script, 2)
        heard = len(editor.said)
        pip = (sys.executable, "-m", "pip", "install", "--quiet", "biopython")
        done = place.run("exec", "--", *pip, cwd=here)
        assert done.returncode == 0, done.stderr
        hints(editor, script, 1, heard)


@pytest.mark.openssh
def test_what_pip_says_is_the_error(place: Place, here: Path) -> None:
    with place.editor() as editor:
        editor.initialize(here)
        done = editor.job("install", {"packages": ["no-such-package"]})
        assert done["state"] == "failed"
        assert done["error"]["code"] == "RunError"
        assert (
            "No matching distribution found for no-such-package"
            in (done["error"]["message"])
        )
        for wrong in (["--index-url=https://example.com"], ["a; rm -rf /"], [1], []):
            with pytest.raises(RpcError) as caught:
                editor.command("install", {"packages": wrong})
            assert caught.value.code == -32602


@pytest.mark.openssh
def test_without_a_link_nothing_is_asked(place: Place, here: Path) -> None:
    script = here / "train.py"
    with place.editor() as editor:
        editor.initialize(here, options={"autoConnect": False})
        assert editor.command("status")["link"] == "offline"
        editor.open(script, SOURCE, "python")
        editor.save(script)
        assert editor.command("status")["link"] == "offline"
        told = [m for m in editor.said if m["method"].endswith("publishDiagnostics")]
        assert [m for m in told if m["params"]["uri"] == script.as_uri()] == []
