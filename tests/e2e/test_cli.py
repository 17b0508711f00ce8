"""The command line: exit codes, what goes to stdout and what to stderr."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from colab_devsync import __version__
from tests.e2e.place import Place

_NEED_A_CONFIGURATION = (
    *("sync", "status", "conflicts", "resolve --all --keep local"),
    *("forward", "forward 8080", "disconnect"),
)


def lines(data: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in data.decode().splitlines()]


def test_version_and_help_need_nothing(place: Place) -> None:
    done = place.run("--version")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == f"colab-devsync {__version__}\n"
    done = place.run("--help")
    assert done.returncode == 0
    assert b"Exit codes: 0 ok" in done.stdout
    assert not place.runtime.exists(), "no daemon for a help text"


@pytest.mark.parametrize("command", ["status", "sync", "connect", "conflicts", "watch"])
def test_without_a_project_the_exit_code_is_2_and_no_daemon_starts(
    place: Place, command: str
) -> None:
    done = place.run(command)
    assert done.returncode == 2
    assert done.stdout == b""
    said = done.stderr.decode()
    assert f"No .colabremote.toml in {place.home}" in said
    assert "colab-devsync init" in said
    assert not place.runtime.exists()


def test_json_errors_are_one_object_on_stdout(place: Place) -> None:
    for arguments in (["--json", "status"], ["status", "--json"]):
        done = place.run(*arguments)
        (body,) = lines(done.stdout)
        error = body["error"]
        assert isinstance(error, dict)
        assert error["code"] == "ConfigError"
        assert error["exitCode"] == done.returncode == 2
        assert "init" in error["hint"]


def test_a_broken_configuration_is_2_with_its_place(
    place: Place, project: Path
) -> None:
    (project / ".colabremote.toml").write_text('[link]\nprovidr = "sandbox"\n')
    for command in _NEED_A_CONFIGURATION:
        done = place.run(*command.split(), cwd=project)
        assert done.returncode == 2, command
        assert ".colabremote.toml:2:1: link.providr" in done.stderr.decode()


def test_a_broken_configuration_does_not_keep_a_session_from_ending(
    place: Place, project: Path
) -> None:
    assert place.run("connect", cwd=project).returncode == 0
    (project / ".colabremote.toml").write_text('[link]\nprovidr = "sandbox"\n')
    done = place.run("disconnect", "--json", cwd=project)
    assert done.returncode == 0
    assert lines(done.stdout)[0]["link"] == "offline"
    assert ".colabremote.toml:2:1: link.providr" in done.stderr.decode()
    assert place.run("disconnect", cwd=project).returncode == 2


def test_no_runtime_folder_of_the_system_is_not_worth_a_warning(place: Place) -> None:
    for name in ("COLAB_DEVSYNC_RUNTIME_DIR", "XDG_RUNTIME_DIR"):
        place.env.pop(name, None)
    place.env["TMPDIR"] = str(place.folder)
    done = place.run("daemon", "status")
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_profile_that_is_not_there_is_2(place: Place, project: Path) -> None:
    done = place.run("--profile", "gpu2", "status", cwd=project)
    assert done.returncode == 2
    assert 'there is no profile "gpu2"' in done.stderr.decode()


@pytest.mark.parametrize(
    "arguments",
    [["frobnicate"], ["sync", "--frob"], ["resolve", "a.py"], ["exec"]],
)
def test_wrong_usage_is_2_and_shows_the_usage(
    place: Place, arguments: list[str]
) -> None:
    done = place.run(*arguments)
    assert done.returncode == 2
    assert b"Usage: colab-devsync" in done.stderr


def test_options_may_stand_before_and_after_the_command(
    place: Place, project: Path
) -> None:
    before = place.run("--json", "--project", str(project), "status")
    after = place.run("status", "--project", str(project), "--json")
    assert before.returncode == after.returncode == 0, before.stderr
    assert lines(before.stdout) == lines(after.stdout)


def test_status_is_found_from_a_folder_inside(place: Place, project: Path) -> None:
    inner = project / "pkg"
    inner.mkdir()
    done = place.run("--json", "status", cwd=inner)
    (body,) = lines(done.stdout)
    assert body["folder"] == str(project)
    assert body["link"] == "offline"
    assert place.run("status", cwd=inner).stdout.startswith(b"project")


def test_init_asks_for_flags_where_there_is_no_terminal(place: Place) -> None:
    done = place.run("init")
    assert done.returncode == 2
    assert b"Add --provider" in done.stderr


def test_init_writes_once(place: Place) -> None:
    arguments = ("init", "--provider", "direct", "--host", "203.0.113.7", "--json")
    done = place.run(*arguments)
    path = place.home / ".colabremote.toml"
    assert lines(done.stdout) == [{"path": str(path)}]
    text = path.read_text()
    assert place.run(*arguments).returncode == 2
    assert path.read_text() == text


def test_completion_scripts_are_printed(place: Place) -> None:
    for shell in ("bash", "zsh", "fish"):
        done = place.run("completion", shell)
        assert done.returncode == 0
        assert b"_COLAB_DEVSYNC_COMPLETE" in done.stdout
    place.env.update(
        _COLAB_DEVSYNC_COMPLETE="bash_complete",
        COMP_WORDS="colab-devsync con",
        COMP_CWORD="1",
    )
    done = place.run()
    assert sorted(done.stdout.decode().split()) == ["plain,conflicts", "plain,connect"]


def test_a_closed_stdout_is_not_a_traceback(place: Place) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "colab_devsync", "--help"],
        cwd=place.home,
        env=place.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(30) in (0, 1)
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.skipif(sys.platform == "win32", reason="needs sh")
def test_closed_standard_streams_are_empty_ones(place: Place, project: Path) -> None:
    """Else the daemon's socket has number 0, and is read as the user's input."""

    def run(*words: str, closing: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [
                *("sh", "-c", f'exec "$@" {closing}', "sh"),
                *(sys.executable, "-m", "colab_devsync", *words),
            ],
            cwd=project,
            env=place.env,
            capture_output=True,
            timeout=90,
            check=False,
        )

    place.run("sync", cwd=project)
    done = run("exec", "--", "cat", closing="<&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert run("lsp", closing="<&-").returncode == 0
    done = run("status", closing=">&-")
    assert (done.returncode, done.stderr) == (0, b"")
    assert run("stop", "none", closing="<&- >&- 2>&-").returncode == 6


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_output_that_cannot_be_written_is_said(place: Place, project: Path) -> None:
    for words in (["status"], ["status", "--json"], ["exec", "--", "echo", "hi"]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "colab_devsync", *words],
                cwd=project,
                env=place.env,
                stdin=subprocess.DEVNULL,
                stdout=full,
                stderr=subprocess.PIPE,
                timeout=90,
                check=False,
            )
        assert done.returncode == 1
        said = done.stderr.decode()
        assert said == (
            "error: The output cannot be written: No space left on device.\n"
        ), words


def test_a_pasted_line_holds_until_the_file_leads_elsewhere(
    place: Place, project: Path
) -> None:
    config = project / ".colabremote.toml"
    sandbox = config.read_text()
    config.write_text('[link]\nprovider = "direct"\nhost = "127.0.0.1"\nport = 1\n')
    done = place.run("connect", "ssh -p 2 me@127.0.0.1", cwd=project)
    assert done.returncode == 3
    with config.open("a") as file:
        file.write('user = "you"\n')
    assert place.run("connect", cwd=project).returncode == 3
    (status,) = lines(place.run("status", "--json", cwd=project).stdout)
    assert status["target"] == "me@127.0.0.1:2", "only the user was changed"
    config.write_text(sandbox)
    done = place.run("connect", cwd=project)
    assert done.returncode == 0, done.stderr


def test_verbose_adds_the_traceback(place: Place) -> None:
    assert b"Traceback" not in place.run("status").stderr
    assert b"Traceback" in place.run("status", "-v").stderr


def test_watch_ends_with_130_on_ctrl_c(place: Place, project: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "colab_devsync", "--json", "watch"],
        cwd=project,
        env=place.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line).get("link") == "online":
                break
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
