"""Puts many small files in their places together, as safely as one by one.

Making one file durable takes a disk much longer than writing it, and for many at once
hardly longer than for one. So all are written first, then made durable on a few
threads, whose waits the disk makes one, and only then named. Any thread may call.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .incoming import Outcome
from .landing import Landed, NotHere, sync_file
from .record import Pulled
from .rule import Rule
from .small import Came

_THREADS = 4
_EACH = 8  # files, fewer are not worth a thread


@dataclass
class _Arrival:
    """One file between its arrival and its place."""

    came: Came
    known: Pulled | None  # what was pulled to its place before
    part: Path | None = None  # where it is; None: it stands in its place already
    is_durable: bool = False
    error: NotHere | OSError | None = None


def land_together(rule: Rule, came: Sequence[Came]) -> tuple[list[Landed], list[Came]]:
    """What has landed, to be followed by `Landing.sync`; and what has not, and why."""
    whole = [one for one in came if one.outcome.content]
    others = [one for one in came if not one.outcome.content]
    arrivals = [_Arrival(one, rule.pulled.get(one.file.path)) for one in whole]
    landed: list[Landed] = []
    try:
        for one in arrivals:
            _write(rule, one)
        _make_durable([one for one in arrivals if one.part and not one.error])
        for one in arrivals:
            _name(rule, one, landed)
    finally:
        for one in arrivals:
            if one.part is not None:
                one.part.unlink(missing_ok=True)
    return landed, others + [_refused(one) for one in arrivals if one.error]


def _write(rule: Rule, one: _Arrival) -> None:
    path, known = one.came.file.path, one.known
    mtime_ns = one.came.file.version.mtime_ns
    if known is not None and known.hash == one.came.outcome.content and known.is_here:
        return
    try:
        one.part = rule.landing.part(path, "small")
        with open(one.part, "wb") as stream:
            stream.write(one.came.content)
        os.utime(one.part, ns=(mtime_ns, mtime_ns))
    except OSError as exc:
        one.error = exc


def _make_durable(arrivals: Sequence[_Arrival]) -> None:
    count = max(1, min(_THREADS, len(arrivals) // _EACH))
    threads = [
        threading.Thread(
            target=_sync,
            args=(arrivals[n::count],),
            name="devsync-pull-sync",
            daemon=True,
        )
        for n in range(1, count)
    ]
    for thread in threads:
        thread.start()
    _sync(arrivals[::count])
    for thread in threads:
        thread.join()


def _sync(arrivals: Sequence[_Arrival]) -> None:
    for one in arrivals:
        assert one.part is not None
        try:
            sync_file(one.part)
        except OSError as exc:
            one.error = exc
        else:
            one.is_durable = True


def _name(rule: Rule, one: _Arrival, landed: list[Landed]) -> None:
    if one.error is not None:
        return
    file, content = one.came.file, one.came.outcome.content
    landing, known = rule.landing, one.known
    try:
        if one.part is not None:
            assert one.is_durable
            here = landing.name(one.part, file.path, file.version, content, known)
            one.part = None
        else:
            assert known is not None
            assert known.local is not None
            here = landing.adopt(file.path, file.version, content, known.local)
    except (NotHere, OSError) as exc:
        one.error = exc
    else:
        landed.append(here)


def _refused(one: _Arrival) -> Came:
    assert one.error is not None
    outcome = Outcome.refused(one.error, one.came.file.version.size)
    return replace(one.came, outcome=outcome)
