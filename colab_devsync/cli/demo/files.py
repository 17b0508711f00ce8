"""The demo's steps about files: first mirror, an edit, a conflict, a broken line."""

from __future__ import annotations

import difflib
import hashlib
import sys
import time
from pathlib import Path
from random import Random

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from ...errors import DevsyncError
from .stage import Demo, silent

LARGE_BYTES = 8_000_000  # the example's `drop_after` is in the middle of it
DIGEST = (
    "import hashlib, sys; "
    "print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())"
)


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


def conflict(demo: Demo) -> None:
    demo.title("Somebody edits metrics.py on the VM; you save it here too")
    name = "segmentation/metrics.py"
    path = demo.project / name
    theirs = f"open({name!r}, 'a').write('\\n# tuned on the VM\\n')"
    demo.vm.exec([sys.executable, "-c", theirs], silent)
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
    (digest,) = demo.vm.exec([sys.executable, "-c", DIGEST, large], silent)
    if digest != hashlib.sha256(content).hexdigest():
        raise DevsyncError("The VM's copy of the large file differs.")
    demo.say(f"its {LARGE_BYTES / 1e6:.0f} MB are the same there (SHA-256 compared)")
    demo.record("healed after the break", f"{seconds:.2f} s", "both saves delivered")


def changed_lines(mine: str, theirs: str) -> list[str]:
    """A unified diff without its context."""
    diff = difflib.unified_diff(
        mine.splitlines(), theirs.splitlines(), "here", "on the VM", lineterm="", n=0
    )
    return [line for line in diff if not line.startswith("@@")]
