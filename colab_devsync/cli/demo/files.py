"""`colab-devsync demo`: the main job from end to end, against the embedded sandbox.

Runs on the calling thread, through the same daemon and the same messages that editors
use, with a daemon and folders of its own: the user's stay as they are. Leaves nothing.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table

from ..errors import DevsyncError
from .demo_vm import DemoVm

EXAMPLE = Path(__file__).parent / "demo_project"
FRAMES, FRAME_BYTES = 200, 24_000
LARGE_BYTES = 8_000_000  # the example's `drop_after` is in the middle of it
DIGEST = (
    "import hashlib, sys; "
    "print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())"
)


@dataclass
class Demo:
    """What the steps share, and what they measured."""

    console: Console
    project: Path
    vm: DemoVm
    rows: list[tuple[str, str, str]] = field(default_factory=list)
    step: int = 0

    def title(self, text: str) -> None:
        self.step += 1
        self.console.print(f"\n[bold]{self.step}. {text}[/bold]")

    def say(self, text: str) -> None:
        self.console.print(f"   {text}", highlight=False, markup=False)

    def record(self, step: str, value: str, note: str) -> None:
        self.rows.append((step, value, note))


def run(console: Console | None = None) -> int:
    """0, or an exception that says which step failed."""
    console = console or Console(soft_wrap=True)
    began = time.perf_counter()
    console.print("The main job of colab-devsync, on this machine alone: the VM is a")
    console.print("folder behind a real SSH server, 40 ms away. No network is used.")
    with own_folders() as folder:
        project = folder / "segmentation"
        copy_example(project)
        with DemoVm(project) as vm:
            demo = Demo(console, project, vm)
            for step in STEPS:
                step(demo)
            summary(demo, time.perf_counter() - began)
    return 0


def mirror(demo: Demo) -> None:
    demo.title("The first mirror: the whole project, progress shown")
    connected = demo.vm.job("connect")
    machine = connected["vm"]
    demo.say(f"connected to {connected['target']}, Python {machine['python']} there")
    columns = (TextColumn("   {task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=demo.console) as progress:
        bar = progress.add_task("mirroring", total=None)
        result = demo.vm.job(
            "sync",
            on_progress=lambda body: progress.update(
                bar, completed=body["bytes"], total=body["bytesTotal"] or None
            ),
        )
        progress.update(bar, completed=result["bytes"], total=result["bytes"])
    files, size, seconds = result["files"], result["bytes"], result["seconds"]
    demo.say(f"{files} files, {size / 1e6:.1f} MB, {seconds:.2f} s")
    demo.record("first mirror", f"{seconds:.2f} s", f"{files} files")
    again = demo.vm.job("sync")
    demo.say(f"a second sync sends {again['files']} files, {again['seconds']:.2f} s")
    demo.record("sync again", f"{again['seconds'] * 1000:.0f} ms", "nothing to send")


def edit(demo: Demo) -> None:
    demo.title("An edit: LEARNING_RATE = 0.02 becomes 0.2, saved in an editor")
    path = demo.project / "train.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("RATE = 0.02", "RATE = 0.2"), encoding="utf-8")
    began = time.perf_counter()
    demo.vm.save(path)
    demo.vm.wait_mirrored({"train.py"})
    ms = 1000 * (time.perf_counter() - began)
    rtt = demo.vm.command("status")["rttMs"]
    demo.say(f"on the VM, acknowledged, after {ms:.0f} ms (RTT {rtt:.0f} ms)")
    demo.record("saved edit on the VM", f"{ms:.0f} ms", f"RTT {rtt:.0f} ms")


def train(demo: Demo) -> None:
    demo.title("exec: train.py runs on the VM, its output as it comes")
    began = time.perf_counter()
    lines = demo.vm.exec([sys.executable, "train.py"], demo.say)
    seconds = time.perf_counter() - began
    if not any("learning rate 0.2," in line for line in lines):
        raise DevsyncError("The VM ran something else than what was saved.")
    demo.record("exec train.py", f"{seconds:.2f} s", "with the edit: rate 0.2")


def conflict(demo: Demo) -> None:
    demo.title("Somebody edits metrics.py on the VM; you save it here too")
    name = "segmentation/metrics.py"
    path = demo.project / name
    theirs = f"open({name!r}, 'a').write('\\n# tuned on the VM\\n')"
    demo.vm.exec([sys.executable, "-c", theirs], _silent)
    path.write_text(path.read_text(encoding="utf-8") + "\n# tuned here\n", "utf-8")
    began = time.perf_counter()
    demo.vm.save(path)
    demo.vm.wait_status(lambda status: status["conflicts"] == 1)
    ms = 1000 * (time.perf_counter() - began)
    demo.say(f"nothing was overwritten: a conflict in {name}")
    for line in changed_lines(path.read_text(encoding="utf-8"), their_version(demo)):
        demo.say(f"  {line}")
    demo.vm.job("resolve", path=name, keep="remote")
    if "tuned on the VM" not in path.read_text(encoding="utf-8"):
        raise DevsyncError("The VM's version did not arrive here.")
    demo.say("resolved: the VM's version was kept, and is here now")
    demo.record("conflict noticed", f"{ms:.0f} ms", "kept the VM's version")


def their_version(demo: Demo) -> str:
    """The VM's copy follows the conflict; a sync comes back after it."""
    for _ in range(10):
        (found,) = demo.vm.command("conflicts")["conflicts"]
        if found["remote_copy"]:
            return Path(found["remote_copy"]).read_text(encoding="utf-8")
        demo.vm.job("sync")
    raise DevsyncError("The VM's version of the conflict was not fetched.")


def outage(demo: Demo) -> None:
    demo.title("The connection breaks in the middle of a large file")
    large, small = "data/features.bin", "segmentation/data.py"
    content = Random(2).randbytes(LARGE_BYTES)
    (demo.project / large).write_bytes(content)
    demo.vm.save(demo.project / large)
    demo.vm.wait_status(lambda status: status["link"] != "online")
    broken = time.perf_counter()
    demo.say("broken; meanwhile another file is saved")
    text = (demo.project / small).read_text(encoding="utf-8")
    (demo.project / small).write_text(text + "\n# saved offline\n", "utf-8")
    demo.vm.save(demo.project / small)
    demo.vm.wait_mirrored({large, small})
    seconds = time.perf_counter() - broken
    demo.say(f"reconnected by itself; both files are there after {seconds:.2f} s")
    (digest,) = demo.vm.exec([sys.executable, "-c", DIGEST, large], _silent)
    if digest != hashlib.sha256(content).hexdigest():
        raise DevsyncError("The VM's copy of the large file differs.")
    demo.say(f"its {LARGE_BYTES / 1e6:.0f} MB are the same there (SHA-256 compared)")
    demo.record("healed after the break", f"{seconds:.2f} s", "both saves delivered")


STEPS: tuple[Callable[[Demo], None], ...] = (mirror, edit, train, conflict, outage)


def summary(demo: Demo, seconds: float) -> None:
    # ASCII and no colours: it is meant to be pasted.
    from rich import box

    table = Table(box=box.ASCII2, title=f"demo: all done in {seconds:.1f} s")
    table.add_column("step")
    table.add_column("took", justify="right")
    table.add_column("")
    for row in demo.rows:
        table.add_row(*row)
    demo.console.print()
    demo.console.print(table)


def changed_lines(mine: str, theirs: str) -> list[str]:
    """A unified diff without its context."""
    diff = difflib.unified_diff(
        mine.splitlines(), theirs.splitlines(), "here", "on the VM", lineterm="", n=0
    )
    return [line for line in diff if not line.startswith("@@")]


def copy_example(project: Path) -> None:
    """The packaged example, this Python as the VM's, and 200 made-up frames."""
    shutil.copytree(
        EXAMPLE, project, ignore=shutil.ignore_patterns("__pycache__", "checkpoints")
    )
    config = project / ".colabremote.toml"
    text = config.read_text(encoding="utf-8")
    # A JSON string is a TOML string too, backslashes of Windows paths included.
    config.write_text(text.replace('"python3"', json.dumps(sys.executable)), "utf-8")
    frames, rng = project / "data" / "frames", Random(1)
    frames.mkdir()
    for number in range(FRAMES):
        row = rng.randbytes(FRAME_BYTES // 8)
        (frames / f"{number:04d}.ppm").write_bytes(b"P6 100 80 255\n" + row * 8)


def _silent(line: str) -> None:
    """For output that is only looked at."""


@contextmanager
def own_folders() -> Iterator[Path]:
    """A temporary folder; state, cache and socket of this process go there."""
    names = ("RUNTIME", "STATE", "CACHE")
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="demo", ignore_cleanup_errors=True) as made:
        folder = Path(made).resolve()
        try:
            for name in names:
                os.environ[f"COLAB_DEVSYNC_{name}_DIR"] = str(folder / name.lower())
            os.environ.pop("COLAB_DEVSYNC_PROFILE", None)
            yield folder
        finally:
            os.environ.clear()
            os.environ.update(before)
