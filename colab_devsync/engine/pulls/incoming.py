"""One large file on its way home: which ranges are here, which are under way.

Lanes write what arrives, in any order; a thread of its own follows, hashes what is
complete from the start, and ends it. Ranges survive links, and through the record the
daemon too.
"""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...agent.write_behind import WriteBehind
from ...core.pulls import Version, add_range, gaps
from ...remote.client import Meta
from ...remote.pulling import Parts
from ..traffic.intake import Intake
from . import contents
from .landing import NotHere, why_not

_NOTED = 200  # times at most, it is noted what is here
_NOTE_LEAST, _NOTE_MOST = 256 << 10, 4 << 20  # bytes between two notes
_FOLLOWED = 4 << 20  # bytes hashed at a time, while more arrives
_MOST_PARTS = 512  # in one call; systems have limits
_BLOCK = 256 << 10  # bytes; they stay in the processor's cache

Ranges = list[tuple[int, int]]


@dataclass(frozen=True)
class Outcome:
    """How it ended: `content`, the hash of what is whole and right in the part; else
    `changed`, the VM has another version; `damaged`, what came is not what the VM
    has; or `problem`, for people. `needs`: free bytes here that would solve it."""

    content: str = ""
    changed: bool = False
    damaged: bool = False
    problem: str = ""
    needs: int = 0

    @classmethod
    def refused(cls, exc: NotHere | OSError, left: int) -> Outcome:
        """This machine does not take it; `left` bytes were still to come."""
        problem, needs = why_not(exc, left)
        return cls(problem=problem, needs=needs)


class Incoming:
    """Any thread. `on_end` is called once, on its own thread, unless `abandon` was."""

    def __init__(
        self,
        path: str,
        version: Version,
        about: list[object],
        *,
        form: str,
        part: Path,
        have: Ranges,
        note: Callable[[str], None],
        on_hungry: Callable[[], None],
        on_end: Callable[[Outcome], None],
    ) -> None:
        """`about`: the file as the agent knows it; `form`: of the hash that the agent
        is asked for, see `contents`; `note` keeps the ranges as text;
        `on_hungry`: something must be asked for again. OSError if the part cannot be
        written."""
        self.path = path
        self.version = version
        self.about = about
        self.form = form
        self.is_digest_asked = False
        self.is_resumed = bool(have)
        self._note = note
        self._on_hungry = on_hungry
        self._on_end = on_end
        self._changed = threading.Condition()
        self._have = have
        self._todo = gaps(have, version.size)
        self._noted = self._arrived = sum(high - low for low, high in have)
        self._note_every = max(_NOTE_LEAST, min(_NOTE_MOST, version.size // _NOTED))
        self._awaited = 0  # up to where it must be complete to be hashed further
        self._wanted_hash = ""
        self._outcome: Outcome | None = None
        self._is_abandoned = self._is_kept = False
        self._file_lock = threading.Lock()
        # "r+b" does not make a file, "w+b" empties one.
        fd = os.open(part, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
        self._file = io.FileIO(fd, "r+b")
        self._file.truncate(version.size)
        self._disk = WriteBehind(fd)
        self.part = part

    def start(self) -> threading.Thread:
        thread = threading.Thread(
            target=self._run, name="devsync-pull-hash", daemon=True
        )
        thread.start()
        return thread

    # --- asking -------------------------------------------------------------------

    def take(self, limit: int) -> tuple[int, int] | None:
        """The next range to ask for, (start, end); None if there is none now."""
        with self._changed:
            if not self._todo or self._outcome is not None:
                return None
            start, end = self._todo[0]
            cut = min(end, start + limit)
            if cut == end:
                self._todo.pop(0)
            else:
                self._todo[0] = (cut, end)
            return start, cut

    def give_back(self, start: int, end: int) -> None:
        """It was asked for, but will not come."""
        with self._changed:
            self._todo = add_range(self._todo, start, end)
        self._on_hungry()

    def forget_question(self) -> None:
        """Its hash was asked for, but will not come."""
        self.is_digest_asked = False
        self._on_hungry()

    @property
    def is_hungry(self) -> bool:
        return bool(self._todo) and self._outcome is None

    @property
    def arrived(self) -> int:
        """Bytes that are here."""
        return self._arrived

    # --- arriving -----------------------------------------------------------------

    def write(self, at: int, parts: Parts) -> None:
        size = sum(map(len, parts))
        try:
            with self._file_lock:
                if not self._file.closed:
                    self._file.seek(at)
                    _write_all(self._file, parts)
        except OSError as exc:
            self.end(Outcome.refused(exc, self.version.size - self.arrived))
            return
        self._disk.wrote(at, size)
        self.fill(at, at + size)

    def fill(self, start: int, end: int) -> None:
        """[start, end) is as it should be: written, or nothing but zeros."""
        text = None
        with self._changed:
            self._have = add_range(self._have, start, end)
            self._arrived = sum(high - low for low, high in self._have)
            if self._arrived - self._noted >= self._note_every:
                self._noted = self._arrived
                text = json.dumps(self._have)
            if self._complete() >= self._awaited:
                self._changed.notify_all()
            if self._outcome is not None:
                return
        if text is not None:
            self._note(text)

    def skip(self, start: int, end: int) -> None:
        """Nothing but zeros is there: they need not be asked for."""
        end = min(end, self.version.size)
        with self._changed:
            apart = add_range(gaps(self._todo, self.version.size), start, end)
            self._todo = gaps(apart, self.version.size)
        self.fill(start, end)

    def expect(self, content: str) -> None:
        """The VM's hash of it."""
        with self._changed:
            self._wanted_hash = content
            self._changed.notify_all()

    def end(self, outcome: Outcome) -> None:
        """Nothing more is to come. The first outcome counts."""
        with self._changed:
            self._outcome = self._outcome or outcome
            self._changed.notify_all()

    def abandon(self, *, keep: bool) -> None:
        """Nobody wants it now. `keep`: what is here stays, for another time."""
        self._is_abandoned, self._is_kept = True, keep
        if keep:
            self._note_all()
        self.end(Outcome())

    def _note_all(self) -> None:
        with self._changed:
            text = json.dumps(self._have)
        self._note(text)

    # --- its thread ---------------------------------------------------------------

    def _run(self) -> None:
        try:
            outcome = self._follow()
        except OSError as exc:
            outcome = Outcome.refused(exc, 0)
        try:
            with self._file_lock:
                self._file.close()
        except OSError as exc:  # some file systems tell it only now
            outcome = Outcome.refused(exc, 0)
        if outcome.problem:
            self._note_all()
        if not self._is_abandoned:
            self._on_end(outcome)
        elif not self._is_kept:
            self.part.unlink(missing_ok=True)

    def _follow(self) -> Outcome:
        """Hashes behind what arrives; to the end, or to another end."""
        total, at, size = contents.begin(self.form), 0, self.version.size
        block = memoryview(bytearray(_BLOCK))
        with self.part.open("rb", buffering=0) as stream:
            while at < size:
                edge = self._edge(at)
                if edge is None:
                    assert self._outcome is not None
                    return self._outcome
                while at < edge:
                    came = stream.readinto(block[: min(_BLOCK, edge - at)])
                    if not came:
                        return Outcome(problem="somebody cut off its part here")
                    total.update(block[:came])
                    at += came
        wanted, content = self._wait_hash(), total.text()
        if wanted is None:
            assert self._outcome is not None
            return self._outcome
        if contents.form_of(wanted) != self.form:  # the VM has only another one
            content = contents.hash_of(self.part, contents.form_of(wanted))
        return Outcome(content=content) if content == wanted else Outcome(damaged=True)

    def _edge(self, at: int) -> int | None:
        """Up to where it is complete, past `at`; None: it has ended."""

        def look() -> bool:
            return self._outcome is not None or self._complete() >= self._awaited

        with self._changed:
            self._awaited = min(self.version.size, at + _FOLLOWED)
            self._changed.wait_for(look)
            return None if self._outcome is not None else self._complete()

    def _complete(self) -> int:
        first = self._have[0] if self._have else (0, 0)
        return first[1] if first[0] == 0 else 0

    def _wait_hash(self) -> str | None:
        with self._changed:
            self._changed.wait_for(lambda: self._wanted_hash or self._outcome)
            return self._wanted_hash if self._outcome is None else None


def _write_all(file: io.FileIO, parts: Parts) -> None:
    """At its position, in one call where the system has one. OSError."""
    done = 0
    if sys.platform != "win32" and len(parts) <= _MOST_PARTS:
        done = os.writev(file.fileno(), parts)
        if done == sum(map(len, parts)):
            return
    rest = memoryview(b"".join(parts))[done:]
    while rest:
        rest = rest[file.write(rest) :]


class RangeAnswer:
    """Implements `Answer` of remote/pulling.py for one range."""

    def __init__(
        self, incoming: Incoming, start: int, end: int, window: Intake
    ) -> None:
        self._incoming = incoming
        self._at = start
        self._end = end
        self._window = window
        self._unpaid = end - start  # of what the window was asked for

    def piece(self, parts: Parts) -> None:
        size = sum(map(len, parts))
        self._window.release(min(size, self._unpaid))
        self._unpaid -= min(size, self._unpaid)
        self._incoming.write(self._at, parts)
        self._at += size

    def done(self, meta: Meta) -> None:
        self._window.cancel(self._unpaid)
        self._unpaid = 0
        if meta.get("changed"):
            self._incoming.end(Outcome(changed=True))
        elif "failed" in meta:
            self._incoming.end(Outcome(problem=str(meta["failed"])))
        elif meta.get("hole"):
            self._incoming.skip(self._at, int(meta["hole"]))

    def lost(self) -> None:
        self._window.cancel(self._unpaid)
        self._unpaid = 0
        if self._at < self._end:
            self._incoming.give_back(self._at, self._end)


class HashAnswer:
    """Implements `Answer` for the hash of a whole file."""

    def __init__(self, incoming: Incoming, on_hash: Callable[[str], None]) -> None:
        self._incoming = incoming
        self._on_hash = on_hash

    def piece(self, parts: Parts) -> None:
        """None comes."""

    def done(self, meta: Meta) -> None:
        if meta.get("changed"):
            self._incoming.end(Outcome(changed=True))
        elif "failed" in meta:
            self._incoming.end(Outcome(problem=str(meta["failed"])))
        else:
            content_hash = str(meta["hashes"][-1])
            self._on_hash(content_hash)
            self._incoming.expect(content_hash)

    def lost(self) -> None:
        """Asked again on the next link."""
        self._incoming.forget_question()
