"""The main job in a real VS Code, against a real sshd: save, run, debug."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.projects import write_config
from tests.support.proxy import ChaosProxy
from tests.support.remotes import Remote
from tests.support.vscode import Window

pytestmark = [pytest.mark.openssh, pytest.mark.timeout(400)]

TRAIN = """\
import sys


def step(epoch, rate):
    loss = 1 / (1 + epoch * rate)
    print(f"epoch {epoch}: loss {loss:.3f}")
    return loss


def main():
    rate = 0.5
    losses = [step(epoch, rate) for epoch in range(3)]
    print(f"best {min(losses):.3f} in {__file__}:5")
    return losses


if __name__ == "__main__":
    main()
    sys.exit(0)
"""


def test_save_run_debug(
    open_window: Callable[[Path], Window],
    here: Path,
    remote: Remote,
    make_proxy: Callable[..., ChaosProxy],
) -> None:
    there = remote.root / "train.py"
    (here / "train.py").write_text("print('empty')\n")
    write_config(here, remote, port=make_proxy(remote.login.port, rtt_ms=20).port)
    window = open_window(here)

    window.wait_status("ms")
    window.open_file("train.py")
    window.type_over(TRAIN)
    window.save()
    window.shot("saved")
    expect(window.status).to_contain_text("segmentation")
    assert there.read_text() == TRAIN
