"""The main job in a real VS Code, against a real sshd: save, run, debug."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.projects import write_config
from tests.support.code_server import Window, holds, wait_until
from tests.support.proxy import ChaosProxy
from tests.support.remotes import Remote

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
    print(f"best {min(losses):.3f}, from {__file__}:5")
    return losses


if __name__ == "__main__":
    main()
    sys.exit(0)
"""
LOSS_LINE = 6  # print(...) in step

PARENT = """\
import multiprocessing


def work(number):
    square = number * number
    return square


if __name__ == "__main__":
    child = multiprocessing.Process(target=work, args=(7,))
    child.start()
    child.join()
    print("joined", child.exitcode)
"""
SQUARE_LINE = 6  # return square

LAUNCH = {
    "type": "colab-devsync",
    "request": "launch",
    "name": "On the VM",
    "program": "${file}",
}


@pytest.fixture
def window(
    open_window: Callable[[Path], Window],
    here: Path,
    remote: Remote,
    make_proxy: Callable[..., ChaosProxy],
) -> Window:
    (here / "train.py").write_text(PARENT)
    write_config(here, remote, port=make_proxy(remote.login.port, rtt_ms=20).port)
    window = open_window(here)
    window.wait_status(re.compile(r"segmentation\s+\d+ ms"))
    return window


def test_save_run_debug(window: Window, here: Path, remote: Remote) -> None:
    window.open_file("train.py")
    window.type_over(TRAIN)
    window.save()
    wait_until(holds(remote.root / "train.py", TRAIN), "train.py is on the VM")
    run_it(window)
    debug_it(window)


def test_launch_json_children_and_lenses(window: Window, here: Path) -> None:
    configurations = {"version": "0.2.0", "configurations": [LAUNCH]}
    (here / ".vscode").mkdir()
    (here / ".vscode" / "launch.json").write_text(json.dumps(configurations))
    window.open_file("train.py")
    window.toggle_breakpoint(SQUARE_LINE)
    window.keys("F5")
    expect(window.stopped_line).to_be_visible()
    expect(window.find(".debug-call-stack", "Subprocess").first).to_be_visible()
    window.show_locals()
    expect(window.variable("square")).to_contain_text("49")
    window.shot("child")
    window.debug_button("continue").click()
    expect(window.find(".debug-toolbar")).to_be_hidden()
    lens = window.find(".codelens-decoration a", "Run on Colab").first
    joined = window.find(".output-view", "joined 0").first
    window.until(lens.click, joined, 30_000)
    expect(window.output).to_contain_text("[train-2: done]")


def run_it(window: Window) -> None:
    window.title_action("Run File on the VM").click()
    expect(window.output).to_contain_text("epoch 2: loss 0.500")
    expect(window.output).to_contain_text("[train-1: done]")
    window.shot("run")
    # The VM's path in the output leads to the file here.
    window.follow_link("train.py:5", 5)


def debug_it(window: Window) -> None:
    window.toggle_breakpoint(LOSS_LINE)
    window.title_action("Debug File on the VM").click()
    expect(window.stopped_line).to_be_visible()
    window.show_locals()
    expect(window.variable("epoch")).to_contain_text("0")
    expect(window.variable("loss")).to_contain_text("1.0")
    window.shot("debug")
    window.go_on("step-over", window.cursor_at(LOSS_LINE + 1))
    window.go_on("continue", window.variable("epoch", "1"))
    window.go_on("restart", window.variable("epoch", "0"))
    window.stop_debugging()
    window.keys("F5")  # without a launch.json
    expect(window.stopped_line).to_be_visible()
    window.stop_debugging()
    window.keys("Control+F5")  # Run Without Debugging
    expect(window.output).to_contain_text("[train-5: done]")
    window.open_view()
    for run in ("train-2", "train-3"):  # Restart and Stop end the program on the VM
        expect(window.row(run)).to_contain_text(re.compile("debug, (?!running)"))
    window.shot("tree")
