"""What the demo's steps share: where it happens, what it says, what it measured."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from .vm import DemoVm

EXAMPLE = Path(__file__).parent / "project"
FRAMES, FRAME_BYTES = 200, 24_000


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


def summary(demo: Demo, seconds: float) -> None:
    # ASCII and no colours: it is meant to be pasted.
    table = Table(box=box.ASCII2, title=f"demo: all done in {seconds:.1f} s")
    table.add_column("step")
    table.add_column("took", justify="right")
    table.add_column("")
    for row in demo.rows:
        table.add_row(*row)
    demo.console.print()
    demo.console.print(table)


def as_json(rows: Sequence[tuple[str, str, str]], seconds: float) -> dict[str, Any]:
    """The same for machines."""
    steps = [{"step": step, "took": took, "note": note} for step, took, note in rows]
    return {"seconds": round(seconds, 3), "steps": steps}


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


def silent(line: str) -> None:
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
