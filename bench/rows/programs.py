"""Programs on the VM: first line, re-attach, a save during a flood, a debugger ready.

Start-up times of Python and debugpy are measured here, where the "VM" is too, so that
only what we add is held against the targets.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..competitors import opened_master
from ..lsp_client import LspClient
from ..report import Result, median
from ..trees import source_bytes
from ..world import ONLINE_S, World
from . import Effort

OURS = "colab-devsync"
HELLO = 'import os\nprint("hello", flush=True)\n'
WAITING = 'import time\nprint("here", flush=True)\ntime.sleep(600)\n'
FLOOD = (
    'import sys\nline = b"x" * 99 + b"\\n"\n'
    "for _ in range({lines}):\n    sys.stdout.buffer.write(line * 100)\n"
)
FLOOD_BYTES = 1_000_000_000
_POLL_S = 0.002


def first_line(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    """From `devsync.run` to the first output, with nothing left to mirror."""
    project = world.project()
    (project.root / "hello.py").write_text(HELLO)
    argv = [sys.executable, "-u", str(project.root / "hello.py")]
    started = median([_first_line_ms(argv) for _ in range(9)])
    world.rtt(rtt_ms)
    times = []
    with world.online(project) as client:
        for _ in range(effort.repeats):
            mark = client.mark()
            began = time.perf_counter()
            run = _run(client, project.root, "hello.py")
            first = _output(client, run, mark)
            times.append(1000 * (first - began))
            _wait_end(client, run, mark)
    row = "first line of a run"
    yield Result(
        row,
        OURS,
        rtt_ms,
        median(times),
        "ms",
        limit=2 * rtt_ms + started,
        note=f"Python alone starts in {started:.0f} ms; 2 RTT + that",
    )
    if effort.others:
        with opened_master(world.target()) as target:
            argv = [*target.ssh(), target.host, shlex.join(argv)]
            ms = median([_first_line_ms(argv) for _ in range(effort.repeats)])
        yield Result(row, "ssh, ControlMaster", rtt_ms, ms, "ms")


def reattach(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    project = world.project()
    (project.root / "waiting.py").write_text(WAITING)
    world.rtt(rtt_ms)
    times = []
    folder = str(project.root)
    with world.online(project) as client:
        mark = client.mark()
        run = _run(client, project.root, "waiting.py")
        _output(client, run, mark)
        for _ in range(effort.repeats):
            client.request("colabDevsync/detach", {"folder": folder, "run": run})
            mark = client.mark()
            began = time.perf_counter()
            client.request("colabDevsync/attach", {"folder": folder, "run": run})
            times.append(1000 * (_output(client, run, mark) - began))
        client.command("devsync.stop", {"folder": folder, "run": run, "kill": True})
    limit = 2 * rtt_ms + 30.0
    yield Result("re-attach to a run", OURS, rtt_ms, median(times), "ms", limit=limit)


def save_during_flood(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    project = world.project()
    size = int(FLOOD_BYTES * min(1.0, effort.scale))
    (project.root / "flood.py").write_text(FLOOD.format(lines=size // 10_000))
    world.rtt(rtt_ms)
    times = []
    with world.online(project) as client:
        mark = client.mark()
        run = _run(client, project.root, "flood.py")
        _output(client, run, mark)
        for number in range(effort.repeats):
            times.append(_save_ms(client, project.root, number))
            threading.Event().wait(0.05)
        is_running = not _has_ended(client, run, mark)
        stop = {"folder": str(project.root), "run": run, "kill": True}
        client.command("devsync.stop", stop)
    yield Result(
        f"save during {size / 1e9:.1f} GB of output",
        OURS,
        rtt_ms,
        median(times),
        "ms",
        limit=rtt_ms + 50.0,
        note=f"worst {max(times):.0f}" + ("" if is_running else "; it ended before"),
    )


def debugger(world: World, rtt_ms: int, effort: Effort) -> Iterator[Result]:
    """From `devsync.debug` to a port that an editor can attach to."""
    project = world.project()
    script = project.root / "waiting.py"
    script.write_text(WAITING)
    alone = median([_debugpy_ms(script) for _ in range(5)])
    world.rtt(rtt_ms)
    times = []
    folder = str(project.root)
    with world.online(project) as client:
        for _ in range(min(effort.repeats, 7)):
            began = time.perf_counter()
            ask = {"folder": folder, "file": "waiting.py"}
            ready: dict[str, Any] = client.command("devsync.debug", ask, ONLINE_S)
            times.append(1000 * (time.perf_counter() - began))
            stop = {"folder": folder, "run": ready["run"], "kill": True}
            client.command("devsync.stop", stop)
    yield Result(
        "debug → ready to attach",
        OURS,
        rtt_ms,
        median(times),
        "ms",
        limit=6 * rtt_ms + alone + 150.0,
        note=f"debugpy alone takes {alone:.0f} ms; 6 RTT + that + 150",
    )


def _run(client: LspClient, root: Path, file: str) -> str:
    ask = {"folder": str(root), "file": file}
    return str(client.command("devsync.run", ask, ONLINE_S)["run"])


def _output(client: LspClient, run: str, mark: int) -> float:
    note = client.wait_for(
        "colabDevsync/output", lambda body: body["run"] == run, since=mark
    )
    return note.at


def _wait_end(client: LspClient, run: str, mark: int) -> None:
    client.wait_for(
        "colabDevsync/run",
        lambda body: body["run"] == run and body["state"] != "running",
        since=mark,
    )


def _has_ended(client: LspClient, run: str, mark: int) -> bool:
    return any(
        note.method == "colabDevsync/run"
        and note.params["run"] == run
        and note.params["state"] != "running"
        for note in client.notes[mark:]
    )


def _save_ms(client: LspClient, root: Path, number: int) -> float:
    path = root / "saved.py"
    path.write_bytes(source_bytes(10_000 + number, seed=number))
    mark = client.mark()
    told = client.save(path)
    note = client.wait_for(
        "colabDevsync/mirrored", lambda body: body["path"] == path.name, since=mark
    )
    return 1000 * (note.at - told)


def _first_line_ms(argv: list[str]) -> float:
    began = time.perf_counter()
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        return 1000 * (time.perf_counter() - began)


def _debugpy_ms(script: Path) -> float:
    """Until its adapter listens, as the file that it writes then tells."""
    with tempfile.TemporaryDirectory() as folder:
        endpoints = Path(folder) / "endpoints.json"
        env = {**os.environ, "DEBUGPY_ADAPTER_ENDPOINTS": str(endpoints)}
        options = ["--listen", "127.0.0.1:0", "--wait-for-client"]
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "debugpy", *options, str(script)],
            env={**env, "PYDEVD_DISABLE_FILE_VALIDATION": "1"},
            stderr=subprocess.DEVNULL,
        )
        try:
            while not _is_whole(endpoints):
                time.sleep(_POLL_S)
            return 1000 * (time.perf_counter() - began)
        finally:
            process.kill()
            process.wait(10)


def _is_whole(endpoints: Path) -> bool:
    try:
        return bool(json.loads(endpoints.read_text()))
    except (FileNotFoundError, ValueError):
        return False
