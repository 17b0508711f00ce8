"""JetBrains IDEs: clients made as LSP4IJ is, with the templates that it imports."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.place import Place
from tests.e2e.projects import write_config
from tests.e2e.runs_there import ended_afterwards
from tests.support.editors import ROOT, lsp4j
from tests.support.remotes import Remote

pytestmark = pytest.mark.openssh

TRAIN = """\
total = 0
for number in range(3):
    total += number
print("total", total)
"""
ADDS = 3  # the line


@pytest.fixture
def here(tmp_path: Path, remote: Remote) -> Iterator[Path]:
    folder = tmp_path / "segmentation"
    folder.mkdir()
    (folder / "train.py").write_text(TRAIN)
    config = write_config(folder, remote, host_key=None)
    config.write_text(f'{config.read_text()}python = "{sys.executable}"\n')
    with ended_afterwards(remote):
        yield folder


def templates(place: Place, here: Path) -> dict[str, Any]:
    """What `setup pycharm` wrote for LSP4IJ, by folder and name."""
    done = place.run("--json", "setup", "pycharm", cwd=here)
    paths = [Path(one["path"]) for one in json.loads(done.stdout)["files"]]
    own = [path for path in paths if path.parent.name.startswith("lsp4ij-")]
    return {
        f"{path.parent.name}/{path.name}": json.loads(path.read_text())
        for path in own
        if path.suffix == ".json"
    }


def java(place: Place, program: str, words: Sequence[str]) -> dict[str, Any]:
    argv = [*lsp4j(), str(ROOT / "tests" / "lsp4j" / program), *words]
    done = subprocess.run(
        argv, env=place.env, cwd="/", capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {one["step"]: one["facts"] for one in found}


@pytest.mark.timeout(300)
def test_everything_is_reached_as_a_jetbrains_ide_reaches_it(
    place: Place, here: Path, remote: Remote
) -> None:
    server = templates(place, here)["lsp4ij-server/template.json"]
    argv = shlex.split(server["programArgs"]["default"])
    words = [str(here), str(remote.root), *argv]
    found = java(place, "Lsp4ijClient.java", words)
    assert found["server"] == "colab-devsync"
    assert found["asked"] == 1, "a closed balloon is no yes, and is not asked again"
    assert found["connected"] == 2
    assert len(found["actions"]) <= 20  # that the IDE shows
    assert found["saved"] is True
    assert found["output"] == "from LSP4J"
    assert "exit code 0" in found["ended"]
    assert "unknown key" in found["diagnostic"]
    assert found["after cancelling"] > 0
    assert found["status"] == "online"
    assert found["registered"] == ["workspace/didChangeWatchedFiles"]
    assert found["exit"] == 0


@pytest.mark.timeout(300)
def test_its_debugger_stops_at_a_breakpoint(
    place: Place, here: Path, remote: Remote
) -> None:
    write_config(here, remote)
    config = here / ".colabremote.toml"
    config.write_text(f'{config.read_text()}python = "{sys.executable}"\n')
    written = templates(place, here)
    adapter = written["lsp4ij-debugger/template.json"]["launch"]["default"]
    launch = written["lsp4ij-debugger/launch.file.json"]
    program = str(here / "train.py")
    words = [program, str(ADDS), json.dumps(launch), *shlex.split(adapter)]
    found = java(place, "Lsp4ijDebugger.java", words)
    assert found["verified"] is True
    assert found["stopped"] == {"path": program, "line": ADDS}
    assert found["total"] == "0"
    assert found["exit"] == 0
