"""Ends conflicts the way a person chose. On the engine thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Literal

from ...agent import hashing
from ...core.events import Conflict
from ...core.plan import Known
from ...errors import DevsyncError, LinkLost, SyncError
from . import tree
from .conflicts import fetch, write_atomically
from .mirror import Mirror

_REST_S = 30.0


def end_conflict(
    mirror: Mirror,
    path: str,
    keep: Literal["local", "remote"],
    when_at_rest: Callable[[Callable[[], None], float], None],
    future: Future[Conflict],
) -> None:
    """Ends a conflict; the future resolves when both sides are the same."""
    try:
        if keep == "remote":
            keep_remote(mirror, path, future)
            return
        conflict = keep_local(mirror, path)
    except DevsyncError as exc:
        future.set_exception(exc)
        return
    when_at_rest(lambda: _report(mirror, conflict, future), _REST_S)


def keep_local(mirror: Mirror, path: str) -> Conflict:
    """Ours goes to the VM, over exactly the version that was shown; it is on its way
    when this returns."""
    conflict = mirror.conflicts.get(path)
    mirror.conflicts.drop(path)
    if tree.look(mirror.root, path) is None:
        mirror.deletions.add(path, conflict.remote_hash)
    else:
        mirror.insist(path, conflict.remote_hash)
    mirror.retry_refused()  # it may have stood in the way of others
    return conflict


def _report(mirror: Mirror, conflict: Conflict, future: Future[Conflict]) -> None:
    """After ours was sent: it is there, or the VM's version had changed again."""
    if conflict.path not in mirror.conflicts:
        future.set_result(conflict)
        return
    future.set_exception(
        SyncError(
            f"{conflict.path} was changed on the VM once more; nothing was done.",
            "See `colab-devsync conflicts` and decide again.",
        )
    )


def keep_remote(mirror: Mirror, path: str, future: Future[Conflict]) -> None:
    """The VM's version replaces ours, which is kept beside the project's state."""
    conflict = mirror.conflicts.get(path)
    uplink = mirror.uplink
    if uplink is None:
        raise LinkLost("There is no connection.")

    def fetched(data: bytes | None, error: DevsyncError | None) -> None:
        mirror.loop.post(lambda: _take(mirror, conflict, data, error, future))

    fetch(uplink, path, fetched)


def _take(
    mirror: Mirror,
    conflict: Conflict,
    data: bytes | None,
    error: DevsyncError | None,
    future: Future[Conflict],
) -> None:
    if data is None:
        reason = f": {error.message}" if error else " (it is too large)"
        future.set_exception(
            SyncError(f"The VM's version of {conflict.path} cannot be fetched{reason}.")
        )
        return
    try:
        future.set_result(_replace_local(mirror, conflict, data))
    except OSError as exc:
        future.set_exception(
            SyncError(
                f"Cannot write {conflict.path}: {exc.strerror}.", "Nothing was changed."
            )
        )


def _replace_local(mirror: Mirror, conflict: Conflict, data: bytes) -> Conflict:
    path = conflict.path
    mirror.conflicts.keep_local_version(path)
    write_atomically(mirror.root, path, data)
    mirror.conflicts.drop(path)
    stat = tree.look(mirror.root, path)
    assert stat is not None  # written just now
    found = hashing.of_bytes(data)
    mirror.store.acknowledge([(path, Known(found, stat, time.time_ns()))])
    mirror.touched(path)  # the executable bit, or an edit since
    return replace(conflict, remote_hash=found)
