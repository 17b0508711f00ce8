"""Which modules a Python does not find, and which folders there are."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from colab_devsync.agent import modules
from colab_devsync.core.runs import LAUNCH
from colab_devsync.errors import RemoteRefused
from tests.agent.driver import Driven

SOURCE = Path(modules.__file__).read_text(encoding="utf-8")


def missing(python: str, root: Path, *needs: tuple[str, str], **env: str) -> set[str]:
    """As the VM is asked: in the project's folder, the source in the environment."""
    done = subprocess.run(
        [python, "-c", LAUNCH, str(root), json.dumps(needs)],
        cwd=root,
        env={**os.environ, "COLAB_DEVSYNC_SOURCE": SOURCE, **env},
        capture_output=True,
        check=True,
        timeout=30,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return {f"{folder}:{name}" for folder, name in found}


def put(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_what_is_there_is_found_and_never_imported(python: str, root: Path) -> None:
    put(root / "ours.py", "raise SystemExit('imported')\n")
    put(root / "json.py", "raise SystemExit('imported')\n")
    put(root / "package" / "__init__.py")
    put(root / "spaces" / "deep" / "inner.py")
    put(root / "scripts" / "beside.py")
    put(root / "src" / "lib.py")
    put(root / "wandb" / "run" / "log.txt")
    (root / "empty").mkdir()
    names = ("ours", "json", "sys", "os", "package", "spaces", "empty", "wandb", "gone")
    needs = [("", name) for name in (*names, "beside", "lib")]
    found = missing(python, root, *needs, ("scripts", "beside"), PYTHONPATH="src")
    assert found == {":empty", ":wandb", ":gone", ":beside"}


def test_what_cannot_be_asked_about_is_not_missing(python: str, root: Path) -> None:
    root.mkdir()
    assert missing(python, root, ("", "__main__")) == set()


@pytest.mark.few
def test_folders_are_named(agent: Driven, root: Path, tmp_path: Path) -> None:
    agent.put("b/c/file.txt", b"x")
    (root / "a").mkdir()
    (root / "link").symlink_to(tmp_path)
    (root / "file").write_text("")
    assert agent.ask("names", path="")["folders"] == ["a", "b", "link"]
    assert agent.ask("names", path="b/")["folders"] == ["c"]
    assert agent.ask("names", path=str(root / "b"))["folders"] == ["c"]
    for wrong in ("none", "file"):
        with pytest.raises(RemoteRefused):
            agent.ask("names", path=wrong)
