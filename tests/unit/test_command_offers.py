"""Which commands are offered as code actions, and what results say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from colab_devsync.core.config import ForwardConfig
from colab_devsync.core.events import Status
from colab_devsync.core.runs import RunInfo
from colab_devsync.lsp.command_actions import MOST, Scene, offers
from colab_devsync.lsp.commands import COMMANDS
from colab_devsync.lsp.showing import in_words

ROOT = Path("/home/me/project")
ONLINE = Status(folder=str(ROOT), name="project", link="online")


def titles(scene: Scene) -> list[str]:
    return [one.title for one in offers(COMMANDS, scene)]


def a_run(number: int, state: str = "running") -> RunInfo:
    return RunInfo(
        id=f"train-{number}",
        kind="run",
        state=state,  # type: ignore[arg-type]
        argv=("python3", "train.py"),
        cwd="/content/project",
        started=0.0,
    )


def test_only_commands_that_exist_are_offered() -> None:
    assert offers({}, Scene(ROOT)) == []
    known = {"devsync.run": None}
    assert [one.name for one in offers(known, Scene(ROOT))] == ["devsync.run"]
    for one in offers(COMMANDS, Scene(ROOT, file="a.py", client="PyCharm")):
        assert set(one.arguments) <= set(COMMANDS[one.name].keys)
        required = {k for k, key in COMMANDS[one.name].keys.items() if key.required}
        assert required <= set(one.arguments)


def test_what_makes_no_sense_now_is_left_out() -> None:
    offline, online = titles(Scene(ROOT)), titles(Scene(ROOT, status=ONLINE))
    assert "Connect to Colab" in offline
    assert "Disconnect from Colab" not in offline
    assert "Connect to Colab" not in online
    assert "Disconnect from Colab" in online
    assert "Show conflicts with the VM" not in online
    conflicts = titles(Scene(ROOT, status=replace(ONLINE, conflicts=1)))
    assert "Show conflicts with the VM" in conflicts


def test_runs_ports_and_the_editor_have_theirs() -> None:
    runs = (a_run(1, "exited"), a_run(2))
    scene = Scene(
        ROOT,
        status=replace(ONLINE, runs=runs),
        forwards=[ForwardConfig(remote_port=7860, name="gradio")],
        client="IntelliJ IDEA",
    )
    found = titles(scene)
    assert "Stop train-2" in found
    assert "Stop train-1" not in found
    assert "Forward gradio of the VM" in found
    assert "Write the files for pycharm (setup)" in found


def test_no_more_than_an_editor_shows() -> None:
    many = tuple(a_run(number) for number in range(30))
    ports = [ForwardConfig(remote_port=n, name=str(n)) for n in range(1, 30)]
    scene = Scene(ROOT, "a.py", replace(ONLINE, runs=many), ports, "Neovim")
    found = titles(scene)
    assert len(found) == MOST
    assert found[:2] == ["Run a.py on Colab", "Debug a.py on Colab"]


def test_results_are_put_in_words() -> None:
    assert in_words("devsync.status", ONLINE.as_json()) == "project is online."
    status = replace(ONLINE, rtt_ms=81.4, pending=2, conflicts=1, message="Slow.")
    words = "project is online, 81 ms away, 2 files pending, 1 conflicts. Slow."
    assert in_words("devsync.status", status.as_json()) == words
    assert in_words("devsync.runs", {"runs": []}) == "There are no runs on the VM."
    bad = {"name": "link", "ok": False, "message": "No key.", "hint": "Make one."}
    checks = {"ok": False, "checks": [bad, {**bad, "ok": True}]}
    assert in_words("devsync.doctor", checks) == "link: No key. Make one."
    assert in_words("devsync.whatever", {"x": 1}) == "devsync.whatever: done."
    assert in_words("devsync.runs", None) == ""
