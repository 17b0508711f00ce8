"""When a failed run's tracebacks are told: not in the middle of a chain."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from colab_devsync.core.events import Event, FailuresChanged, RunChanged
from colab_devsync.core.runs import RunInfo, RunState
from colab_devsync.engine.loop import EngineLoop, Step, Timer
from colab_devsync.engine.programs.failures import Failures

CAUSE = b'Traceback (most recent call last):\n  File "/vm/a.py", line 3\nKeyError: 1\n'
LINK = b"\nThe above exception was the direct cause of the following exception:\n\n"
ERROR = b'Traceback (most recent call last):\n  File "/vm/a.py", line 5\nOSError: 2\n'


class ByHand(EngineLoop):
    """Never started: the test is the engine thread, and the clock."""

    def __init__(self) -> None:
        super().__init__("by-hand", lambda: None, lambda exc: None)
        self.steps: list[Step] = []
        self.timers: list[Timer] = []

    def post(self, step: Step) -> None:
        self.steps.append(step)

    def after(self, seconds: float, step: Step) -> Timer:
        assert seconds > 0
        self.timers.append(Timer(step))
        return self.timers[-1]

    def turn(self) -> None:
        steps, self.steps = self.steps, []
        for step in steps:
            step()

    def ring(self) -> None:
        timers, self.timers = self.timers, []
        for timer in timers:
            if not timer.is_cancelled:
                timer.step()


class World:
    def __init__(self, root: Path) -> None:
        (root / "a.py").touch()
        vm = SimpleNamespace(vm=SimpleNamespace(root="/vm"))
        remote = SimpleNamespace(remote=SimpleNamespace(root="/vm"))
        owner: Any = SimpleNamespace(
            root=root, access=SimpleNamespace(current=vm, config=remote), runs=None
        )
        self.told: list[list[tuple[int, int]]] = []
        self.loop = ByHand()
        self.failures = Failures(owner, self.loop, self._emit)
        self.tap = self.failures.tap("a-1", lambda *_: None)
        self.failures.emit(RunChanged(run("running", 0)))

    def _emit(self, event: Event) -> None:
        if isinstance(event, FailuresChanged):
            told = [(one.line, len(one.related)) for one in event.failures]
            self.told.append(told)

    def feed(self, *pieces: bytes) -> None:
        offset = 0
        for piece in pieces:
            self.tap("stderr", offset, piece)
            offset += len(piece)
            self.loop.turn()


def run(state: RunState, stderr: int) -> RunInfo:
    return RunInfo("a-1", "run", ("a.py",), "/vm", state, stderr=stderr)


def test_a_cause_is_no_failure_of_its_own(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.feed(CAUSE, LINK, ERROR[:40], ERROR[40:])
    assert world.told == []
    size = len(CAUSE + LINK + ERROR)
    world.failures.emit(RunChanged(run("exited", size)))
    world.loop.turn()
    assert world.told == [[(5, 1)]]
    world.loop.ring()
    assert world.told == [[(5, 1)]]


def test_a_program_that_goes_on_is_not_waited_for(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.feed(CAUSE)
    world.loop.ring()
    assert world.told == [[(3, 0)]]
    world.tap("stderr", len(CAUSE), LINK + ERROR)
    world.loop.turn()
    assert world.told == [[(3, 0)]]
    world.loop.ring()
    assert world.told == [[(3, 0)], [(5, 1)]]
