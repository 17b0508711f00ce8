"""What an editor sees of `colab-devsync lsp`, without any VM."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.place import Place
from tests.e2e.wire_client import LSP, RpcError

BROKEN = '[link]\nprovider = "sandbox"\nhosst = "x"\n\n[sync]\nmode = "miror"\n'
GOOD = '[link]\nprovider = "sandbox"\n'
STAY_OFFLINE = {"autoConnect": False}


def test_initialize_names_the_server_and_all_working_commands(place: Place) -> None:
    with place.editor() as editor:
        result = editor.initialize()
    assert result["serverInfo"]["name"] == "colab-devsync"
    capabilities = result["capabilities"]
    assert capabilities["textDocumentSync"]["save"] == {"includeText": False}
    names = "connect disconnect status sync conflicts compare resolve init doctor"
    names += " cancel run runs stop debug tensorboard forward shell sshConfig"
    names += " notebook install pull push setup"
    commands = capabilities["executeCommandProvider"]["commands"]
    assert sorted(commands) == sorted(f"devsync.{name}" for name in names.split())


def test_mistakes_are_pushed_at_start_without_opening_the_file(
    place: Place, project: Path
) -> None:
    config = project / ".colabremote.toml"
    config.write_text(BROKEN)
    with place.editor() as editor:
        editor.initialize(project)
        found = editor.diagnostics(config, len)
    assert [d["range"] for d in found] == [
        {"start": {"line": 2, "character": 0}, "end": {"line": 2, "character": 5}},
        {"start": {"line": 5, "character": 7}, "end": {"line": 5, "character": 14}},
    ]
    assert [d["code"] for d in found] == ["link.hosst", "sync.mode"]
    assert all(d["severity"] == 1 and d["source"] == "colab-devsync" for d in found)
    assert 'did you mean "mirror"?' in found[1]["message"]


def test_mistakes_follow_what_is_typed_and_vanish_when_corrected(
    place: Place, project: Path
) -> None:
    config = project / ".colabremote.toml"
    with place.editor() as editor:
        editor.initialize(project, options=STAY_OFFLINE)
        editor.open(config, GOOD)
        editor.change(config, BROKEN)
        editor.diagnostics(config, lambda found: len(found) == 2)
        heard = len(editor.said)
        editor.change(config, GOOD, 3)
        editor.diagnostics(config, lambda found: not found, start=heard)


def test_positions_count_utf16_units(place: Place, project: Path) -> None:
    config = project / ".colabremote.toml"
    with place.editor() as editor:
        editor.initialize(project, options=STAY_OFFLINE)
        editor.open(config, 'name = "\U0001f600" x\n')
        (found,) = editor.diagnostics(config, len)
    assert found["range"]["start"]["line"] == 0
    # `x` is character 11 for Python and 12 for an editor.
    assert found["range"]["start"]["character"] == 12


def test_closing_without_saving_shows_what_is_on_disk(
    place: Place, project: Path
) -> None:
    config = project / ".colabremote.toml"
    with place.editor() as editor:
        editor.initialize(project, options=STAY_OFFLINE)
        editor.open(config, BROKEN)
        editor.diagnostics(config, len)
        heard = len(editor.said)
        uri = {"uri": config.as_uri()}
        editor.notify("textDocument/didClose", {"textDocument": uri})
        editor.diagnostics(config, lambda found: not found, start=heard)


def test_a_client_spells_files_in_its_own_way(place: Place, tmp_path: Path) -> None:
    """Neovim escapes less of a path than Python does."""
    project = tmp_path / "seg (1)+é"
    project.mkdir()
    config = project / ".colabremote.toml"
    config.write_text(GOOD)
    escaped = config.as_uri()
    uri = escaped.replace("%28", "(").replace("%29", ")").replace("%2B", "+")
    assert uri != escaped
    with place.editor() as editor:
        editor.initialize(project, options=STAY_OFFLINE)
        config.write_text(BROKEN)
        change = {"changes": [{"uri": escaped, "type": 2}]}
        editor.notify("workspace/didChangeWatchedFiles", change)
        editor.diagnostics(config, len)
        heard = len(editor.said)
        document = {"uri": uri, "languageId": "toml", "version": 1, "text": BROKEN}
        editor.notify("textDocument/didOpen", {"textDocument": document})
        found = editor.wait_for(
            "textDocument/publishDiagnostics", lambda p: p["uri"] == uri, start=heard
        )
        assert len(found["diagnostics"]) == 2
        config.write_text(GOOD)
        editor.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
        assert editor.command("status")["link"] == "offline"
        said = [one for one in editor.said if one["method"].endswith("Diagnostics")]
        last = {one["params"]["uri"]: one["params"]["diagnostics"] for one in said}
        assert last == {uri: [], escaped: []}


def test_what_is_typed_counts_and_not_what_is_on_disk(
    place: Place, project: Path
) -> None:
    config = project / ".colabremote.toml"
    with place.editor() as editor:
        editor.initialize(project, options=STAY_OFFLINE)
        editor.open(config, BROKEN)
        editor.diagnostics(config, len)
        heard = len(editor.said)
        change = {"uri": config.as_uri(), "type": 2}
        editor.notify("workspace/didChangeWatchedFiles", {"changes": [change]})
        assert editor.command("status")["link"] == "offline"
        said = [one["method"] for one in editor.said[heard:]]
    assert "textDocument/publishDiagnostics" not in said


def test_a_byte_order_mark_is_no_mistake(place: Place, project: Path) -> None:
    """Windows' own tools write one."""
    config = project / ".colabremote.toml"
    config.write_text("\ufeff" + GOOD.replace("\n", "\r\n"), newline="")
    with place.editor() as editor:
        editor.initialize(project, options=STAY_OFFLINE)
        assert editor.command("status")["link"] == "offline"
        said = [one["method"] for one in editor.said]
    assert "textDocument/publishDiagnostics" not in said


def test_a_removed_configuration_has_no_mistakes(place: Place, project: Path) -> None:
    config = project / ".colabremote.toml"
    config.write_text(BROKEN)
    with place.editor() as editor:
        editor.initialize(project)
        editor.diagnostics(config, len)
        heard = len(editor.said)
        config.unlink()
        change = {"uri": config.as_uri(), "type": 3}
        editor.notify("workspace/didChangeWatchedFiles", {"changes": [change]})
        editor.diagnostics(config, lambda found: not found, start=heard)


def test_the_configuration_is_watched_where_the_editor_can(place: Place) -> None:
    watching = {"didChangeWatchedFiles": {"dynamicRegistration": True}}
    with place.editor() as editor:
        editor.initialize(capabilities={"workspace": watching})
        asked = editor.wait_asked("client/registerCapability")
    (registration,) = asked["registrations"]
    (watcher,) = registration["registerOptions"]["watchers"]
    assert watcher["globPattern"] == "**/.colabremote.toml"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([{"chek": True}], "has no key 'chek'. Did you mean 'check'?"),
        ([{"check": "yes"}], "'check' can't be 'yes'. Expected true or false."),
        (["file:///x"], "takes one JSON object, not str"),
        ([[1]], "takes one JSON object, not list"),
    ],
)
def test_wrong_arguments_are_refused_with_what_is_right(
    place: Place, project: Path, arguments: list[object], said: str
) -> None:
    with place.editor() as editor:
        editor.initialize(project, options=STAY_OFFLINE)
        with pytest.raises(RpcError) as caught:
            editor.command("sync", *arguments)
    assert said in str(caught.value)
    assert caught.value.code == -32602
    assert caught.value.data["code"] == "BadArguments"


def test_a_missing_key_is_named(place: Place, project: Path) -> None:
    with place.editor() as editor:
        editor.initialize(project, options=STAY_OFFLINE)
        with pytest.raises(RpcError, match="needs the key 'keep'"):
            editor.command("resolve", {"path": "a.py"})
        with pytest.raises(RpcError, match="Expected one of: local, remote"):
            editor.command("resolve", {"path": "a.py", "keep": "mine"})


def test_a_folder_without_project_is_refused_with_the_next_step(
    place: Place, tmp_path: Path
) -> None:
    with place.editor() as editor:
        editor.initialize(tmp_path)
        for arguments in ([], [None], [{}], [{"folder": str(tmp_path)}]):
            with pytest.raises(RpcError, match="colab-devsync init") as caught:
                editor.command("status", *arguments)
            assert caught.value.data["exitCode"] == 2
            assert caught.value.data["code"] == "ConfigError"


def test_init_writes_a_configuration_once(place: Place, tmp_path: Path) -> None:
    with place.editor() as editor:
        editor.initialize(tmp_path, options=STAY_OFFLINE)
        chosen = {"provider": "direct", "host": "203.0.113.7", "port": 2222}
        made = editor.command("init", chosen)
        assert Path(made["path"]) == tmp_path / ".colabremote.toml"
        with pytest.raises(RpcError, match="exists already"):
            editor.command("init", chosen)
    assert 'host = "203.0.113.7"' in (tmp_path / ".colabremote.toml").read_text()


def test_unknown_jobs_commands_and_methods_are_errors_not_silence(
    place: Place,
) -> None:
    with place.editor() as editor:
        editor.initialize()
        with pytest.raises(RpcError, match="no job 'sync-9'"):
            editor.request("colabDevsync/wait", {"job": "sync-9"})
        with pytest.raises(RpcError, match="not defined"):
            editor.command("frobnicate")
        with pytest.raises(RpcError, match="Method Not Found"):
            editor.request("colabDevsync/frobnicate")
        with pytest.raises(RpcError, match="not what LSP says") as caught:
            editor.request("textDocument/hover", {"position": {"line": -1}})
        assert caught.value.code == -32602


def test_garbage_from_a_client_does_not_end_the_conversation(place: Place) -> None:
    with place.editor() as editor:
        editor.initialize()
        pipe = editor.process.stdin
        assert pipe is not None
        for body in (b"{", b"[1]", b'{"jsonrpc": "2.0", "id": 7, "method": 3}'):
            pipe.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        pipe.flush()
        assert editor.request("colabDevsync/daemon", {})["clients"] == 1


def test_shutdown_and_exit_end_the_process_with_code_0(place: Place) -> None:
    with place.editor() as editor:
        editor.initialize()
        assert editor.leave() == 0


def test_closing_the_pipe_ends_the_process(place: Place) -> None:
    with place.editor() as editor:
        editor.initialize()
        assert editor.process.stdin is not None
        editor.process.stdin.close()
        assert editor.process.wait(30) == 0


def test_what_editors_add_to_the_command_is_accepted(place: Place) -> None:
    for extra in (["--stdio"], ["--stdio", "--profile", "p", "--clientProcessId=1"]):
        with place.editor(argv=[*LSP, *extra]) as editor:
            editor.initialize()
            assert editor.leave() == 0


def test_one_of_several_projects_must_be_named(
    place: Place, project: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / ".colabremote.toml").write_text(GOOD)
    with place.editor() as editor:
        editor.initialize(project, options=STAY_OFFLINE)
        assert editor.command("status")["folder"] == str(project)
        event = {"added": [{"uri": other.as_uri(), "name": "other"}], "removed": []}
        editor.notify("workspace/didChangeWorkspaceFolders", {"event": event})
        with pytest.raises(RpcError, match="2 projects here") as caught:
            editor.command("status")
        assert "folder" in caught.value.data["hint"]
        for folder in (str(other), other.as_uri(), (other / "a.py").as_uri()):
            assert editor.command("status", {"folder": folder})["folder"] == str(other)


def test_a_folder_that_is_removed_is_looked_at_no_more(
    place: Place, project: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    config = other / ".colabremote.toml"
    config.write_text(BROKEN)
    folders = [{"uri": one.as_uri(), "name": one.name} for one in (project, other)]
    with place.editor() as editor:
        capabilities = {"workspace": {"workspaceFolders": True}}
        options = {"capabilities": capabilities, "initializationOptions": STAY_OFFLINE}
        params = {"processId": None, "workspaceFolders": folders, **options}
        editor.request("initialize", {**params, "rootUri": folders[0]["uri"]})
        editor.notify("initialized", {})
        editor.diagnostics(config, len)
        assert editor.command("status", {"folder": str(other)})["link"] == "offline"
        heard = len(editor.said)
        event = {"added": [], "removed": folders[1:]}
        editor.notify("workspace/didChangeWorkspaceFolders", {"event": event})
        editor.diagnostics(config, lambda found: not found, heard)
        assert editor.command("status")["folder"] == str(project)
