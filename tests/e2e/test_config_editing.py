"""Writing `.colabremote.toml` in an editor: completion, hover, links, corrections."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.place import SANDBOX, Place
from tests.e2e.projects import write_config
from tests.e2e.wire_client import TIMEOUT_S, Editor
from tests.support.proxy import ChaosProxy
from tests.support.remotes import Remote

OFFLINE = {"autoConnect": False}
SNIPPETS = {
    "textDocument": {"completion": {"completionItem": {"snippetSupport": True}}}
}
CREATES = {
    "workspace": {
        "workspaceEdit": {"documentChanges": True, "resourceOperations": ["create"]}
    }
}


@pytest.fixture
def config(project: Path) -> Path:
    return project / ".colabremote.toml"


def typed(editor: Editor, config: Path, marked: str) -> dict[str, dict[str, Any]]:
    """The suggestions at `|`, by label."""
    before, _, after = marked.partition("|")
    editor.open(config, before + after)
    line = before.count("\n")
    column = len(before) - before.rfind("\n") - 1
    params = editor.at(config, line, column)
    found = editor.request("textDocument/completion", params)
    return {one["label"]: one for one in found["items"]}


def test_what_is_offered_is_advertised(place: Place) -> None:
    with place.editor() as editor:
        capabilities = editor.initialize()["capabilities"]
    assert capabilities["hoverProvider"]
    assert capabilities["completionProvider"]["triggerCharacters"]
    assert capabilities["documentLinkProvider"] is not None
    assert capabilities["codeLensProvider"] is not None
    assert "quickfix" in capabilities["codeActionProvider"]["codeActionKinds"]


def test_keys_are_completed_with_snippets_only_where_they_are_understood(
    place: Place, project: Path, config: Path
) -> None:
    with place.editor() as editor:
        editor.initialize(project, options=OFFLINE)
        item = typed(editor, config, "[sync]\nmo|")["mode"]
        assert item["textEdit"] == {
            "range": {
                "start": {"line": 1, "character": 0},
                "end": {"line": 1, "character": 2},
            },
            "newText": "mode = ",
        }
        assert "insertTextFormat" not in item
        assert "replica" in item["documentation"]["value"]
    with place.editor() as editor:
        editor.initialize(project, options=OFFLINE, capabilities=SNIPPETS)
        item = typed(editor, config, "[sync]\nmo|")["mode"]
        assert item["insertTextFormat"] == 2
        assert "${1|" in item["textEdit"]["newText"]


def test_values_come_from_this_machine(
    place: Place, project: Path, config: Path
) -> None:
    (project / "pkg").mkdir()
    (project / "pkg" / "train.py").write_text("")
    ssh = place.home / ".ssh"
    ssh.mkdir()
    for name in ("id_ed25519", "id_ed25519.pub", "work", "work.pub", "known_hosts"):
        (ssh / name).write_text("")
    store = place.home / ".config" / "colab-cli"
    store.mkdir(parents=True)
    known = {"token": "secret", "url": "https://example.com", "endpoint": "gpu-a"}
    sessions = {name: {"name": name, **known} for name in ("train", "eval")}
    (store / "sessions.json").write_text(json.dumps(sessions))
    place.env.pop("COLAB_DEVSYNC_COLAB_SESSIONS", None)
    with place.editor() as editor:
        editor.initialize(project, options=OFFLINE)

        def values(marked: str) -> list[str]:
            return list(typed(editor, config, marked))

        assert values('[link]\nprovider = "colab"\nsession = "|"') == ["eval", "train"]
        keys = ["~/.ssh/id_ed25519", "~/.ssh/work"]
        assert values("[link]\nidentity_file = |") == keys
        assert values('[run]\nentry = "|"') == ["pkg/", "train.py"]
        assert values('[run]\nentry = "pkg/|"') == ["pkg/train.py"]
        assert values('[run]\nmodule = "pkg.|') == ["pkg.train"]
        assert values('[[pull]]\nremote = "x"\nlocal = |') == ["pkg/"]
        assert values('[sync]\nexclude = ["|') == [
            "pkg/",
            ".colabremote.toml",
            "train.py",
        ]
        assert values('[run]\nentry = "../|"') == []
        assert values('[[pull]]\nremote = "|"') == []  # nobody is connected


def test_hover_says_what_the_reference_says(
    place: Place, project: Path, config: Path
) -> None:
    text = '# \U0001f600\n[link]\nprovider = "sandbox" # \U0001f600\n[sync\nmode = \n'
    with place.editor() as editor:
        editor.initialize(project, options=OFFLINE)
        editor.open(config, text)
        found = editor.request("textDocument/hover", editor.at(config, 2, 3))
        assert "How the VM is reached" in found["contents"]["value"]
        assert found["range"]["end"] == {"line": 2, "character": 8}
        found = editor.request("textDocument/hover", editor.at(config, 4, 1))
        assert "`replica` deletes" in found["contents"]["value"]
        assert editor.request("textDocument/hover", editor.at(config, 0, 1)) is None
        script = project / "train.py"
        editor.open(script, "mode = 1\n", "python")
        assert editor.request("textDocument/hover", editor.at(script, 0, 1)) is None
        nothing = editor.request("textDocument/completion", editor.at(script, 0, 1))
        assert nothing is None


def test_named_files_are_links_where_they_exist(
    place: Place, project: Path, config: Path
) -> None:
    text = '[run]\nentry = "train.py"\n[link]\nidentity_file = "~/.ssh/none"\n'
    with place.editor() as editor:
        editor.initialize(project, options=OFFLINE)
        editor.open(config, text)
        params = {"textDocument": {"uri": config.as_uri()}}
        link, *pages = editor.request("textDocument/documentLink", params)
    assert [one["tooltip"] for one in pages] == ["Open the reference"] * 2
    assert pages[0]["target"].endswith("/configuration.md")
    assert pages[0]["range"] == {
        "start": {"line": 0, "character": 1},
        "end": {"line": 0, "character": 4},
    }
    assert link["target"] == (project / "train.py").as_uri()
    assert link["range"] == {
        "start": {"line": 1, "character": 9},
        "end": {"line": 1, "character": 17},
    }


def test_a_mistyped_key_is_corrected_by_an_action(
    place: Place, project: Path, config: Path
) -> None:
    with place.editor() as editor:
        editor.initialize(project, options=OFFLINE)
        editor.open(config, '[link]\nprovidr = "sandbox"\n')
        (mistake,) = editor.diagnostics(config, len)
        found = editor.actions(config, 1, [mistake], ["quickfix"])
        assert list(found) == ["Change to provider", "Remove providr"]
        fix = found["Change to provider"]
        assert fix["diagnostics"] == [mistake]
        assert fix["isPreferred"] is True
        (edit,) = fix["edit"]["changes"][config.as_uri()]
        assert edit == {"range": mistake["range"], "newText": "provider"}
        assert editor.actions(config, 0, only=["quickfix"]) == {}


def test_a_missing_script_is_warned_about_and_created(
    place: Place, project: Path, config: Path
) -> None:
    with place.editor() as editor:
        editor.initialize(project, options=OFFLINE, capabilities=CREATES)
        editor.open(config, f'{SANDBOX}[run]\nentry = "new.py"\n')
        (warning,) = editor.diagnostics(config, len)
        assert (warning["severity"], warning["code"]) == (2, "missing-file")
        action = editor.actions(config, 3, [warning])["Create new.py"]
        (change,) = action["edit"]["documentChanges"]
        assert change["kind"] == "create"
        assert change["uri"] == (project / "new.py").as_uri()

        heard = len(editor.said)
        editor.save(project / "new.py", "print('new')\n")
        editor.diagnostics(config, lambda found: not found, start=heard)


@pytest.mark.openssh
def test_a_vm_that_hangs_holds_nobody_up(
    place: Place, tmp_path: Path, remote: Remote, proxy: ChaosProxy
) -> None:
    here = tmp_path / "segmentation"
    here.mkdir()
    config = write_config(here, remote, port=proxy.port)
    script = here / "train.py"
    script.write_text("import numpy_is_gone\n")
    with place.editor() as editor:
        editor.initialize(here, options=OFFLINE)
        assert editor.job("connect")["state"] == "done"
        text = f'{config.read_text()}[[pull]]\nremote = "'
        editor.open(config, text)
        proxy.freeze()
        editor.open(script, script.read_text(), "python")  # asks the VM, too
        params = editor.at(config, text.count("\n"), len('remote = "'))
        asked = editor.start_request("textDocument/completion", params)
        assert editor.request("textDocument/hover", editor.at(config, 0, 2))
        assert "Run train.py on Colab" in editor.actions(script, 0)
        assert asked.result(TIMEOUT_S)["items"] == []


def test_names_that_are_no_files_do_no_harm(
    place: Place, project: Path, config: Path
) -> None:
    with place.editor() as editor:
        editor.initialize(project, options=OFFLINE)
        long = "x" * 400
        text = (
            f'[link]\nidentity_file = "~nobody-here/{long}"\n[run]\nentry = "{long}"\n'
        )
        editor.open(config, text)
        found = editor.diagnostics(config, len)
        assert [one["code"] for one in found] == ["missing-file"] * 2
        assert typed(editor, config, f'[run]\nentry = "{long}/|"') == {}


def test_typing_is_checked_once_there_is_a_pause(
    place: Place, project: Path, config: Path
) -> None:
    with place.editor() as editor:
        editor.initialize(project, options=OFFLINE)
        editor.open(config, SANDBOX)
        for version, end in enumerate("[sync]\nmoode = 1", 2):
            editor.change(config, SANDBOX + end, version)
        editor.change(config, f"{SANDBOX}[sync]\nmoode = 1\n", 99)
        found = editor.diagnostics(config, len)
        assert [one["code"] for one in found] == ["sync.moode"]


def test_the_vm_names_its_folders_and_its_key_is_pinned(
    place: Place, tmp_path: Path, remote: Remote
) -> None:
    here = tmp_path / "segmentation"
    here.mkdir()
    config = write_config(here, remote, host_key=None)
    for name in ("checkpoints/best", "runs"):
        (remote.root / name).mkdir(parents=True)
    yes = {"window/showMessageRequest": lambda p: p["actions"][0]}
    with place.editor(answers=yes) as editor:
        editor.initialize(here, options=OFFLINE)
        assert editor.job("connect")["state"] == "done"
        text = config.read_text()
        found = typed(editor, config, f'{text}[[pull]]\nremote = "|"')
        assert list(found) == ["checkpoints/", "runs/"]
        found = typed(editor, config, f'{text}[[pull]]\nremote = "checkpoints/|"')
        assert list(found) == ["checkpoints/best/"]
        found = typed(editor, config, f'{text}[[pull]]\nremote = "{remote.root}/r|"')
        assert list(found) == [f"{remote.root}/checkpoints/", f"{remote.root}/runs/"]
        assert typed(editor, config, f'{text}[[pull]]\nremote = "none/|"') == {}

        action = editor.actions(config, 1)["Pin the host key of this VM"]
        (edit,) = action["edit"]["changes"][config.as_uri()]
        assert edit["newText"] == f'host_key = "{remote.login.fingerprint}"\n'
        assert "Pin the host key of this VM" not in editor.actions(config, 8)
