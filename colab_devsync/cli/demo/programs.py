"""The demo's steps about programs: a run, a breakpoint, a page of the VM here."""

from __future__ import annotations

import re
import time
import urllib.request
from pathlib import Path

from ...daemon.client import RemoteFailure
from ...errors import DevsyncError
from .dap import DebugSession
from .stage import Demo

_PAGE_S = 30.0


def train(demo: Demo) -> None:
    demo.title("run: train.py on the VM, its output as it comes")
    began = time.perf_counter()
    first: list[float] = []

    def on_line(line: str) -> None:
        if not first:
            first.append(time.perf_counter() - began)
        demo.say(line)

    lines = demo.vm.run(on_line, file="train.py")
    if not any("learning rate 0.2," in line for line in lines):
        raise DevsyncError("The VM ran something else than what was saved.")
    ms = 1000 * first[0]
    demo.record("first line of train.py", f"{ms:.0f} ms", "with the edit: rate 0.2")


def debug(demo: Demo) -> None:
    demo.title("debug: a breakpoint in segmentation/model.py, reached on the VM")
    path = demo.project / "segmentation" / "model.py"
    line = _line_of(path, "errors[pixel.label] -= 1")
    began = time.perf_counter()
    try:
        ready = demo.vm.job("debug", file="train.py", args=["--epochs", "1"])
    except RemoteFailure as error:
        if "debugpy" not in error.message:
            raise
        demo.say(f"left out: {error.message}")
        demo.record("breakpoint", "left out", "no debugpy on this machine")
        return
    ms = 1000 * (time.perf_counter() - began)
    demo.say(f"debugpy waits there; 127.0.0.1:{ready['connect']['port']} leads to it")
    with DebugSession(ready["configuration"]) as session:
        session.attach(str(path), line)
        stop = session.wait_stop()
        value = session.locals(stop)["probabilities"]
        place = f"{Path(stop.path).relative_to(demo.project).as_posix()}:{stop.line}"
        demo.say(f"stopped at {place} in {stop.function}()")
        demo.say(f"there, probabilities = {value}")
        session.leave()
    demo.vm.command("stop", run=ready["run"], kill=True)
    demo.record("debugger ready", f"{ms:.0f} ms", f"stopped at {place}")


def board(demo: Demo) -> None:
    demo.title("A page that is served on the VM, opened here")
    began = time.perf_counter()
    try:
        url = demo.vm.job("tensorboard")["url"]
        what = "TensorBoard"
    except RemoteFailure as error:
        if "tensorboard" not in error.message.lower():
            raise
        demo.say("no TensorBoard on this machine; Python's own web server instead")
        url, what = _web_server(demo), "a web server"
    with urllib.request.urlopen(url, timeout=_PAGE_S) as page:
        text = page.read().decode("utf-8", "replace")
    title = re.search(r"<title>(.*?)</title>", text, re.DOTALL)
    demo.say(f"{url} shows “{title.group(1).strip() if title else text[:60]}”")
    seconds = time.perf_counter() - began
    demo.record(f"page of {what}", f"{seconds:.2f} s", "through 127.0.0.1 only")
    for run in demo.vm.command("runs")["runs"]:
        if run["state"] == "running":  # it would outlive us
            demo.vm.command("stop", run=run["run"], kill=True)


def _web_server(demo: Demo) -> str:
    """Serves the project's folder on the VM at a free port; here, the URL of it."""
    arguments = ["--bind", "127.0.0.1", "0"]
    line = demo.vm.start(
        lambda line: "Serving HTTP" in line, module="http.server", args=arguments
    )
    port = int(line.partition(" port ")[2].split()[0])
    return str(demo.vm.job("forward", remotePort=port)["url"])


def _line_of(path: Path, text: str) -> int:
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(n for n, line in enumerate(lines, 1) if text in line)
