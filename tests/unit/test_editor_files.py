"""What `setup` writes for each editor, byte for byte, and that it has the right form.

`python -m tests.unit.test_editor_files` writes the golden files anew.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import pytest
import tomli

from colab_devsync.daemon.editors import (
    EDITORS,
    CannotMerge,
    Facts,
    File,
    Places,
    compose,
)
from colab_devsync.daemon.editors.jsonc import parse
from colab_devsync.daemon.editors.vscode import EXTENSION

ROOT = Path(__file__).resolve().parent.parent.parent
GOLDEN = ROOT / "tests" / "golden" / "editors"

PLACES = Places(
    project=PurePosixPath("/home/me/segmentation"),
    own=PurePosixPath("/home/me/.local/state/colab-devsync/editors"),
    nvim=PurePosixPath("/home/me/.config/nvim"),
    git_exclude=PurePosixPath("/home/me/segmentation/.git/info/exclude"),
)
FACTS = Facts(
    alias="colab-segmentation",
    remote_root="/content/segmentation",
    command=("colab-devsync",),
    program=("/home/me/my tools/bin/colab-devsync",),
    places=PLACES,
    entry="train.py",
    ssh_host="127.0.0.1",
    ssh_port=22022,
    ssh_user="root",
    identity_file="/home/me/.ssh/id_ed25519",
)


def files(editor: str, facts: Facts = FACTS) -> dict[str, File]:
    return {one.path.name: one for one in compose(editor, facts).files}


def golden_name(editor: str, file: File) -> Path:
    inside = file.path.relative_to("/home/me").as_posix().replace("/.", "/dot-")
    return GOLDEN / editor / inside.removeprefix(".")


@pytest.mark.parametrize("editor", EDITORS)
def test_the_files_are_the_golden_ones(editor: str) -> None:
    made = {golden_name(editor, one): one for one in compose(editor, FACTS).files}
    there = {path for path in (GOLDEN / editor).rglob("*") if path.is_file()}
    assert set(made) == there
    for path, file in made.items():
        assert file.text == path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize("editor", EDITORS)
def test_they_are_well_formed_and_merging_them_twice_changes_nothing(
    editor: str,
) -> None:
    setup = compose(editor, FACTS)
    assert setup.steps
    for file in setup.files:
        assert file.text.endswith("\n")
        if file.path.suffix == ".xml":
            assert ElementTree.fromstring(file.text) is not None
        elif file.path.suffix == ".json":
            assert json.loads(file.text)
        elif file.path.suffix == ".toml":
            assert tomli.loads(file.text)
        if file.merge is not None:
            assert file.merge(file.text) == file.text
            assert file.merge("") == file.text


# --- VS Code --------------------------------------------------------------------------


def test_the_recommended_extension_is_ours() -> None:
    manifest = ROOT / "editor-extension" / "package.json"
    if manifest.exists():
        said = json.loads(manifest.read_text(encoding="utf-8"))
        assert f"{said['publisher']}.{said['name']}" == EXTENSION
    assert EXTENSION in files("vscode")["extensions.json"].text


# --- PyCharm --------------------------------------------------------------------------


def merged(name: str, text: str, facts: Facts = FACTS) -> str:
    merge = files("pycharm", facts)[name].merge
    assert merge is not None
    return merge(text)


def test_the_templates_name_this_installation_and_both_files() -> None:
    every = [one for one in compose("pycharm", FACTS).files if one.is_ours]
    texts = {"/".join(one.path.parts[-2:]): one.text for one in every}
    server = json.loads(texts["lsp4ij-server/template.json"])
    quoted = '"/home/me/my tools/bin/colab-devsync"'
    assert server["programArgs"] == {"default": f"{quoted} lsp"}
    assert server["env"]["includeSystemEnvironmentVariables"] is True
    assert [one["languageId"] for one in server["fileTypeMappings"]] == [
        "toml",
        "python",
    ]
    debugger = json.loads(texts["lsp4ij-debugger/template.json"])
    assert debugger["launch"] == {"default": f"{quoted} dap"}
    launches = [name for name in texts if "launch." in name]
    assert {json.loads(texts[name])["request"] for name in launches} == {"launch"}


def test_run_configurations_start_the_command() -> None:
    for name, words in (("run", "run"), ("TensorBoard", "tensorboard")):
        text = files("pycharm")[f"Colab {name}.run.xml"].text
        (script,) = ElementTree.fromstring(text).findall(".//*[@name='SCRIPT_TEXT']")
        assert script.get("value") == f"colab-devsync {words}"
    text = files("pycharm")["Colab debug.run.xml"].text
    options = {
        one.get("name"): one.get("value")
        for one in ElementTree.fromstring(text).findall("./configuration/option")
    }
    assert options["command"] == "colab-devsync dap"
    assert json.loads(options["launchConfiguration"] or "")["request"] == "launch"
    assert options["file"] == "$PROJECT_DIR$/train.py"


def test_a_new_port_changes_ours_and_nothing_else() -> None:
    theirs = """\
<?xml version="1.0" encoding="UTF-8"?>
<project version="4">
  <component name="SshConfigs">
    <configs>
      <sshConfig authType="PASSWORD" host="203.0.113.7" id="a" port="22" />
    </configs>
  </component>
</project>
"""
    once = merged("sshConfigs.xml", theirs)
    moved = replace(FACTS, ssh_port=22099)
    twice = merged("sshConfigs.xml", once.replace("OPEN_SSH", "PASSWORD"), moved)
    assert twice == once.replace('port="22022"', 'port="22099"')
    for line in theirs.splitlines():
        assert line in once


def test_the_alias_is_used_where_ssh_knows_it() -> None:
    known = replace(FACTS, ssh_host=FACTS.alias)
    text = files("pycharm", known)["sshConfigs.xml"].text
    assert 'authType="OPEN_SSH"' in text
    assert 'host="colab-segmentation"' in text
    assert "keyPath" not in text


def test_a_server_logs_in_by_key_or_by_agent_and_not_by_both() -> None:
    by_key = files("pycharm")["webServers.xml"].text
    assert 'keyPair="true"' in by_key
    known = replace(FACTS, ssh_host=FACTS.alias)
    by_alias = merged("webServers.xml", by_key, known)
    assert 'authAgent="true"' in by_alias
    assert "keyPair" not in by_alias
    assert merged("webServers.xml", by_alias) == by_key


def test_automatic_upload_is_off_unless_asked_for_and_goes_off_again() -> None:
    by_pycharm = replace(FACTS, upload_by="pycharm")
    off = files("pycharm")["deployment.xml"].text
    on = merged("deployment.xml", off, by_pycharm)
    assert 'autoUpload="Always"' in on
    assert '<option name="myAutoUpload" value="ALWAYS" />' in on
    assert "utoUpload" not in off.replace("OnAutoupload", "")
    again = merged("deployment.xml", on)
    assert ElementTree.canonicalize(again, strip_text=True) == (
        ElementTree.canonicalize(off, strip_text=True)
    )


def test_another_deployment_stays_the_projects_default() -> None:
    theirs = """\
<project version="4">
  <component name="PublishConfigData" autoUpload="Always" serverName="production">
    <serverData>
      <paths name="production">
        <serverdata />
      </paths>
    </serverData>
    <option name="myAutoUpload" value="ALWAYS" />
  </component>
</project>
"""
    text = merged("deployment.xml", theirs)
    data = ElementTree.fromstring(text).find("component")
    assert data is not None
    assert (data.get("serverName"), data.get("autoUpload")) == ("production", "Always")
    names = [one.get("name") for one in data.findall("./serverData/paths")]
    assert names == ["production", "colab-segmentation"]


def test_private_files_are_excluded_once_also_below_the_repositorys_root() -> None:
    below = replace(PLACES, git_prefix="sub/")
    text = merged("exclude", "# mine\n*.bak", replace(FACTS, places=below))
    assert text == (
        "# mine\n*.bak\n/sub/.idea/sshConfigs.xml\n/sub/.idea/webServers.xml\n"
        "/sub/.idea/deployment.xml\n"
    )
    nowhere = replace(FACTS, places=replace(PLACES, git_exclude=None))
    assert "exclude" not in files("pycharm", nowhere)


def test_each_profile_has_entries_of_its_own() -> None:
    known = replace(FACTS, profile="gpu2")
    for editor, name in (("vscode", "tasks.json"), ("zed", "tasks.json")):
        one = files(editor)[name].text
        merge = files(editor, known)[name].merge
        assert merge is not None
        both = merge(one)
        assert '"label": "Colab: pull"' in both
        assert '"label": "Colab gpu2: pull"' in both
    settings = files("zed")["settings.json"].text
    merge = files("zed", known)["settings.json"].merge
    assert merge is not None
    with pytest.raises(CannotMerge, match="another profile"):
        merge(settings)
    assert "Colab gpu2 run.run.xml" in files("pycharm", known)
    text = files("pycharm", known)["Colab gpu2 debug.run.xml"].text
    assert 'name="Colab gpu2: debug"' in text
    assert "Colab gpu2: attach" in files("zed", known)["debug.json"].text


def test_a_profile_stands_in_the_projects_files_only() -> None:
    known = replace(FACTS, profile="gpu2")
    (task, *_) = json.loads(files("vscode", known)["tasks.json"].text)["tasks"]
    assert task["args"] == ["--profile", "gpu2", "run", "${file}"]
    assert '"--profile", "gpu2", "lsp"' in files("helix", known)["languages.toml"].text
    for editor in ("neovim", "emacs"):
        assert [one.text for one in files(editor, known).values()] == [
            one.text for one in files(editor).values()
        ]


# --- Helix ----------------------------------------------------------------------------


def helix(text: str) -> dict[str, Any]:
    (file,) = compose("helix", FACTS).files
    assert file.merge is not None
    return tomli.loads(file.merge(text))


def test_helix_keeps_what_is_there() -> None:
    text = '# mine\n[[language]]\nname = "rust"\nauto-format = false'
    found = helix(text)
    assert [one["name"] for one in found["language"]] == ["rust", "python", "toml"]
    python = found["language"][1]
    assert python["language-servers"][-1]["name"] == "colab-devsync"
    assert python["debugger"]["args"] == ["dap"]
    server = found["language-server"]["colab-devsync"]
    assert [server["command"], *server["args"]] == ["colab-devsync", "lsp"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[[language]]\nname = "python"', "configures python already"),
        ('language-server = { x = { command = "x" } }', "would not be TOML"),
        ("[[language", "would not be TOML"),
    ],
)
def test_helix_is_left_alone_where_that_is_not_safe(text: str, why: str) -> None:
    with pytest.raises(CannotMerge, match=why):
        helix(text)


# --- Zed ------------------------------------------------------------------------------


def test_zed_attaches_to_the_port_that_its_task_asks_for() -> None:
    (attach,) = json.loads(files("zed")["debug.json"].text)
    tasks = json.loads(files("zed")["tasks.json"].text)
    (debug,) = [one for one in tasks if "debug" in one["args"]]
    port = debug["args"][debug["args"].index("--port") + 1]
    assert attach["tcp_connection"]["port"] == attach["connect"]["port"] == int(port)
    assert attach["pathMappings"][0]["remoteRoot"] == "/content/segmentation"
    assert (attach["adapter"], attach["request"]) == ("Debugpy", "attach")


def test_zeds_settings_keep_their_comments_and_other_servers() -> None:
    merge = files("zed")["settings.json"].merge
    assert merge is not None
    text = merge('{\n  // mine\n  "lsp": {"ruff": {"a": 1}},\n}\n')
    assert "// mine" in text
    found = parse(text).plain()
    assert found["lsp"]["ruff"] == {"a": 1}
    assert found["lsp"]["pylsp"]["binary"]["arguments"] == ["lsp"]
    assert found["languages"]["Python"]["language_servers"] == ["pylsp", "..."]
    chosen = '{"languages": {"Python": {"language_servers": [%s]}}}'
    only = parse(merge(chosen % '"ruff", "!ty"')).plain()
    assert only["languages"]["Python"]["language_servers"] == ["ruff", "!ty", "pylsp"]
    with pytest.raises(CannotMerge, match="turns pylsp off"):
        merge(chosen % '"!pylsp"')
    with pytest.raises(CannotMerge, match="pylsp"):
        merge('{"lsp": {"pylsp": {"binary": {"path": "pylsp", "arguments": []}}}}')


def main() -> None:
    shutil.rmtree(GOLDEN, ignore_errors=True)
    for editor in EDITORS:
        for file in compose(editor, FACTS).files:
            path = golden_name(editor, file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
