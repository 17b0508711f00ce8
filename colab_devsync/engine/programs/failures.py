"""Where the project's runs failed: tracebacks in their stderr, placed on our files.

Looks at what passes by to any client, and fetches the end of a log that nobody looked
at. `watch` is called on the engine thread, taps on the threads that carry output.
Forgets everything when the next run begins.
"""

from __future__ import annotations

import codecs
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ...core.events import Emit, Event, FailuresChanged, RunChanged
from ...core.failures import Failure, PathMapping, failures_of
from ...core.runs import RunInfo, RunStream
from ...core.tracebacks import Traceback, TracebackParser
from ..access import Access
from ..loop import EngineLoop, Timer
from .attachment import OnRunOutput
from .runs import Runs

_TAIL = 256 << 10
_TELL_EVERY_S = 0.3


class Owner(Protocol):
    """The session. Its parts are asked for when a run is there."""

    @property
    def root(self) -> Path: ...
    @property
    def access(self) -> Access: ...
    @property
    def runs(self) -> Runs: ...


class Failures:
    """Of one session."""

    def __init__(self, owner: Owner, loop: EngineLoop, emit: Emit) -> None:
        self._owner = owner
        self._loop = loop
        self._emit = emit
        self._roots: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self._watches: dict[str, _Watch] = {}
        self._due: Timer | None = None
        self.shown: tuple[Failure, ...] = ()
        """What was told last; any thread."""

    # --- the engine thread --------------------------------------------------------

    def emit(self, event: Event) -> None:
        """Passes everything on; runs that begin and end are of interest here."""
        if isinstance(event, RunChanged) and event.run.kind != "tensorboard":
            self._look_at(event.run)
        self._emit(event)

    def _look_at(self, run: RunInfo) -> None:
        watch = self._watch(run.id)
        if watch.run is None:  # it may have ended already when we first hear of it
            self._begin(watch, run)
        if run.state == "running" or watch.is_ended:
            return
        watch.is_ended = True
        if watch.seen < run.stderr and run.state == "exited":
            self._read_tail(watch, run)
        else:
            self._end(watch)

    def _read_tail(self, watch: _Watch, run: RunInfo) -> None:
        since = max(watch.seen, run.stderr - _TAIL)
        attachment = self._owner.runs.attach(
            run.id,
            self._tapped(watch),
            offsets={"stdout": run.stdout, "stderr": since},
            follow=False,
        )
        attachment.ended.add_done_callback(lambda _: self._end(watch))

    def _begin(self, watch: _Watch, run: RunInfo) -> None:
        """The next run: what failed before is history."""
        watch.run = run
        with self._lock:
            for name, other in tuple(self._watches.items()):
                if other is watch:
                    continue
                if other.run is None or other.is_ended:
                    del self._watches[name]
                else:
                    other.forget()
        self._tell()

    def _tell(self) -> None:
        found: list[Failure] = []
        with self._lock:
            watches = [watch for watch in self._watches.values() if watch.run]
        for watch in watches:
            assert watch.run is not None
            found += failures_of(watch.found(), self._mapping(watch.run.cwd))
        shown = tuple(dict.fromkeys(found))
        if shown != self.shown:
            self.shown = shown
            self._emit(FailuresChanged(shown))

    def _mapping(self, cwd: str) -> PathMapping:
        access = self._owner.access
        if access.current is not None:
            self._roots = (access.current.vm.root, access.config.remote.root)
        return PathMapping(self._roots, cwd, self._is_here)

    def _is_here(self, path: str) -> bool:
        return (self._owner.root / path).is_file()

    # --- any thread ---------------------------------------------------------------

    def tap(self, run_id: str, on_output: OnRunOutput) -> OnRunOutput:
        """An `on_output` that also looks for tracebacks."""
        look = self._tapped(self._watch(run_id))

        def both(stream: RunStream, offset: int, data: bytes) -> None:
            look(stream, offset, data)
            on_output(stream, offset, data)

        return both

    def _watch(self, run_id: str) -> _Watch:
        """Output may come before the engine has told that the run began."""
        with self._lock:
            return self._watches.setdefault(run_id, _Watch())

    def _tapped(self, watch: _Watch) -> OnRunOutput:
        def look(stream: RunStream, offset: int, data: bytes) -> None:
            if stream == "stderr" and watch.feed(offset, data):
                self._loop.post(self._tell_soon)

        return look

    def _tell_soon(self) -> None:
        """At most a few times a second, however much fails; never in the middle of
        a chain that is being printed, whose first exception is no failure by itself."""
        if self._due is None:
            self._due = self._loop.after(_TELL_EVERY_S, self._tell_now)

    def _tell_now(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        self._tell()

    def _end(self, watch: _Watch) -> None:
        """Nothing follows: no reason to wait any longer."""
        watch.end()
        self._loop.post(self._tell_now)


class _Watch:
    """One run's stderr, each byte once, whoever brings it. Any thread."""

    def __init__(self) -> None:
        self.run: RunInfo | None = None  # the engine thread's, as is the next
        self.is_ended = False
        self.seen = 0
        self._lock = threading.Lock()
        self._parser = TracebackParser()
        self._decode = _decoder()

    def feed(self, offset: int, data: bytes) -> bool:
        """True if that told something new."""
        with self._lock:
            skipped, end = offset - self.seen, offset + len(data)
            if end <= self.seen:
                return False
            self.seen = end
            is_new = False
            if skipped > 0:  # the middle of a long log is left out
                is_new = self._parser.end()
                self._decode = _decoder()
            else:
                data = data[-skipped:]
            return self._parser.feed(self._decode(data)) or is_new

    def end(self) -> None:
        with self._lock:
            self._parser.end()

    def forget(self) -> None:
        with self._lock:
            self._parser = TracebackParser()

    def found(self) -> tuple[Traceback, ...]:
        with self._lock:
            return self._parser.found


def _decoder() -> Callable[[bytes], str]:
    return codecs.getincrementaldecoder("utf-8")("replace").decode
