"""A real Emacs with eglot and the file that `setup emacs` writes, and a real sshd."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.place import Place
from tests.e2e.projects import write_config
from tests.e2e.runs_there import ended_afterwards
from tests.support.editors import DRIVERS, Headless, emacs
from tests.support.remotes import Remote

pytestmark = [pytest.mark.openssh, pytest.mark.timeout(300)]

TRAIN = """\
print("one")


def fail():
    raise ValueError("from the VM")


fail()
"""


def test_saving_running_and_being_told_what_is_wrong(
    tmp_path: Path, place: Place, remote: Remote
) -> None:
    binary = emacs()
    here = tmp_path / "segmentation"
    here.mkdir()
    (here / "train.py").write_text(TRAIN)
    config = write_config(here, remote)
    config.write_text(f'{config.read_text()}python = "{sys.executable}"\n')
    subprocess.run(["git", "init", "-q", here], check=True)  # eglot's project
    done = place.run("--json", "setup", "emacs", cwd=here)
    (written,) = json.loads(done.stdout)["files"]
    env = {**place.env, "FAR": str(remote.root), "OURS": written["path"]}
    argv = [binary, "--batch", "-l", str(DRIVERS / "emacs.el")]
    with (
        ended_afterwards(remote),
        Headless(argv, env, here, tmp_path / "emacs.jsonl") as editor,
    ):
        found = editor.finish()
    assert found["online"] == "online"
    assert found["save"] is True
    assert found["command"] == "started"
    # Without its line end, which Python writes for itself: stderr may come between.
    assert "from Emacs" in found["output"]
    assert [one["line"] for one in found["traceback"]] == [5]
    assert "ValueError: from the VM" in found["traceback"][0]["message"]
    assert "from Emacs" in found["compile"]
    assert found["exit"] == 1
    assert found["local"] == str(here / "train.py")
    assert found["mode"] == "colab-devsync-mode"
    assert "unknown key" in found["config"][0]["message"]
    dape = found["dape"]
    assert dape[0] == "colab-devsync"
    assert dape[dape.index("command-args") + 1] == '["dap"]'
    assert dape[dape.index(":request") + 1] == '"launch"'
