"""A project that pulls, and what is seen of it."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

from colab_devsync.agent.paths import STATE_DIR
from colab_devsync.core.events import FilePulled
from colab_devsync.core.pulls import PullInfo
from tests.support.project import WAIT_S, Project
from tests.support.proxy import ChaosProxy

BIG = 3_000_000  # bytes; comes in ranges
_BLOCK = 1024


def rule(include: str = "", more: str = "", *, every: float = 1) -> str:
    """A [[pull]] for `checkpoints`; `include` as TOML."""
    lines = ["[[pull]]", 'remote = "checkpoints"', f"every = {every}"]
    if include:
        lines.append(f"include = {include}")
    return "\n".join([*lines, more, ""])


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


class Pulling:
    """Both ends of the rule: `there` on the VM, `here` in the project."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.there = project.vm / "checkpoints"
        self.here = project.root / "checkpoints"

    def put(self, path: str, data: bytes, *, mtime_ns: int | None = None) -> None:
        """A file that is finished at one moment."""
        staged = self.project.vm / "staged"
        staged.write_bytes(data)
        if mtime_ns is not None:
            os.utime(staged, ns=(mtime_ns, mtime_ns))
        target = self.there / path
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged, target)

    def read(self, path: str) -> bytes | None:
        try:
            return (self.here / path).read_bytes()
        except FileNotFoundError:
            return None

    def wait(self, path: str, data: bytes, timeout_s: float = WAIT_S) -> None:
        self.until(lambda: self.read(path) == data, f"{path} comes home", timeout_s)

    def until(
        self, look: Callable[[], bool], what: str, timeout_s: float = WAIT_S
    ) -> None:
        self.project.log.wait(look, what, timeout_s)

    def pull(self, timeout_s: float = WAIT_S) -> tuple[int, int]:
        done = self.project.session.pulls.pull().result(timeout_s)
        return done.files, done.bytes

    def info(self) -> PullInfo:
        [info] = self.project.session.status().pulls
        return info

    def files(self) -> set[str]:
        """All that is here, parts too."""
        return {
            Path(folder, name).relative_to(self.here).as_posix()
            for folder, _, names in os.walk(self.here)
            for name in names
        }

    def pulled(self) -> list[str]:
        events = list(self.project.log.events)
        return [one.path for one in events if isinstance(one, FilePulled)]

    def parts(self) -> list[Path]:
        folder = self.here / STATE_DIR
        try:
            return [folder / name for name in os.listdir(folder)]
        except FileNotFoundError:  # it comes and goes with them
            return []

    def stored(self, path: str, data: bytes) -> int:
        """Bytes of `data`, which is `noise`, that are here; whole blocks of them."""
        parts = self.parts()
        here = parts[0].read_bytes() if parts else self.read(path) or b""
        return sum(
            min(_BLOCK, len(data) - at)
            for at in range(0, len(data), _BLOCK)
            if here[at : at + _BLOCK] == data[at : at + _BLOCK]
        )

    def wait_cut(self, proxy: ChaosProxy, connections: int) -> None:
        """Until so many were cut, and all that had arrived has been put away."""

        def is_cut() -> bool:
            now = proxy.counts()
            is_noticed = self.project.session.status().link != "online"
            return (now.connections, now.open) == (connections, 0) and is_noticed

        self.until(is_cut, "the cut is noticed")
        for thread in threading.enumerate():
            if thread.name.startswith("devsync-pull-lane"):
                thread.join(30)
                assert not thread.is_alive()
