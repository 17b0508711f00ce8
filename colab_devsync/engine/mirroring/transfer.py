"""Files on their way to the VM: read, hashed, turned into frames.

Runs on the engine thread for the few small files of a save, and as bulk jobs for
everything else. Delivers one Outcome per item, whatever happens; decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from ...agent import hashing, wire
from ...core import delta
from ...core.plan import Known, LocalStat
from ...errors import DevsyncError, LinkLost
from ...remote.client import Reply
from ..store import Store
from ..traffic.bulk import Lane
from . import tree

DELTA_FROM = 256 << 10  # bytes; from here a signature is kept

Status = Literal[
    "ok", "conflict", "again", "refused", "stale", "gone", "lost", "flying"
]
_STATUS: dict[str, Status] = {
    wire.OK: "ok",
    wire.SAME: "ok",
    wire.CONFLICT: "conflict",
    wire.NEED_FULL: "again",
    wire.BAD_HASH: "again",
    wire.REFUSED: "refused",
    wire.STALE: "stale",
}


class Item(NamedTuple):
    """A path to bring up to date, and what the VM may hold there now."""

    path: str
    stat: LocalStat
    accept: Sequence[str]
    base: str = ""  # the acknowledged hash
    executable: bool | None = None  # the acknowledged mode
    remote: str | None = None  # what the VM is known to hold, if it is not ours yet
    resume: bool = False  # an earlier attempt may have left parts on the VM
    flying: str | None = None  # the hash that is on its way already
    since: float = 0.0  # monotonic time of the first hint
    is_save: bool = True  # somebody wrote this file just now; else a survey found it


class Outcome(NamedTuple):
    """How one item ended. `known` is what was read, if it was."""

    item: Item
    status: Status
    known: Known | None = None
    held: str = ""  # conflict: the hash the VM holds
    reason: str = ""
    sent: int | None = None  # bytes on the wire; None: nothing had to be sent
    reported: int = 0  # bytes of the file that were told as progress already
    signature: delta.Signature | None = None


Deliver = Callable[[list[Outcome]], None]


class Ready(NamedTuple):
    """An item that was read and has to be sent."""

    item: Item
    known: Known
    entry: wire.Entry
    payload: bytes
    signature: delta.Signature | None = None


def prepare(root: Path, item: Item) -> Ready | Outcome:
    """Reads one small item. An Outcome if there is nothing (more) to send."""
    try:
        content = tree.read(root, item.path)
    except (FileNotFoundError, NotADirectoryError):
        return Outcome(item, "gone")
    except tree.Unstable:
        return Outcome(item, "again", reason="it changes while it is read")
    except OSError as exc:
        return Outcome(item, "refused", reason=f"cannot be read: {exc.strerror}")
    data = content.data
    is_link = content.stat.kind == wire.LINK
    found = (
        hashing.of_link(data.decode("utf-8", "surrogateescape"))
        if is_link
        else (hashing.of_bytes(data))
    )
    known = Known(found, content.stat, content.looked_ns)
    if item.flying == found:
        return Outcome(item, "flying")
    if is_settled(item, known):
        return Outcome(item, "ok", known)
    entry = wire.Entry(
        item.path,
        content.stat.kind,
        found,
        len(data),
        content.stat.executable,
        list(item.accept),
        len(data),
    )
    return Ready(item, known, entry, data)


def is_settled(item: Item, known: Known) -> bool:
    """Whether the VM is known to hold this already, mode included."""
    if item.remote is not None:
        return item.remote == known.hash
    return item.accept == [known.hash] and item.executable == known.stat.executable


def finish(ready: Sequence[Ready], reply: Reply, wire_bytes: int) -> list[Outcome]:
    """The outcomes of one put."""
    if reply.error is not None:
        return [lost(one.item, reply.error, one.known) for one in ready]
    total = sum(len(one.payload) for one in ready) or 1
    return [
        outcome(
            one.item,
            result,
            known=one.known,
            signature=one.signature,
            sent=-(-wire_bytes * len(one.payload) // total),  # upwards
        )
        for one, result in zip(ready, reply.meta()["results"], strict=True)
    ]


def outcome(
    item: Item,
    result: wire.Result,
    *,
    known: Known,
    signature: delta.Signature | None,
    sent: int,
) -> Outcome:
    status, held, reason = result
    if status == wire.NEED_FULL:
        reason = wire.NEED_FULL
    return Outcome(
        item, _STATUS[status], known, held, reason, sent, signature=signature
    )


def lost(item: Item, error: DevsyncError, known: Known | None = None) -> Outcome:
    """The link died before there was an answer; or the VM cannot, and said why."""
    status: Status = "lost" if isinstance(error, LinkLost) else "refused"
    return Outcome(item, status, known, reason=error.message)


class SmallBatch:
    """Many small files in one frame: one hash, one system call, one reply for all."""

    def __init__(
        self, root: Path, items: Sequence[Item], store: Store, deliver: Deliver
    ) -> None:
        self._root = root
        self._items = items
        self._store = store
        self._deliver = deliver

    def run(self, lane: Lane) -> None:
        with lane.turn:
            steps = [prepare(self._root, item) for item in self._items]
        ready = [step for step in steps if isinstance(step, Ready)]
        ended = [step for step in steps if isinstance(step, Outcome)]
        if ended:
            self._deliver(ended)
        self._items = [one.item for one in ready]  # what fail() still has to answer for
        if not ready:
            return
        sent = [(one.item.path, one.known.hash) for one in ready]
        self._store.note_sent(sent, durable=False)
        for part in _frames(ready, lane.batch):
            self._send(lane, part)
            self._items = self._items[len(part) :]

    def _send(self, lane: Lane, ready: Sequence[Ready]) -> None:
        entries = [one.entry for one in ready]
        meta = {"op": "put", "entries": entries, "durable": False, "exact": True}
        payload = [one.payload for one in ready]
        size = 0

        def replied(reply: Reply) -> None:
            self._deliver(finish(ready, reply, size))

        size = lane.send(meta, payload, replied)

    def fail(self, error: DevsyncError) -> None:
        self._deliver([lost(item, error) for item in self._items])
        self._items = []


def _frames(ready: Sequence[Ready], limit: int) -> Iterator[list[Ready]]:
    """Neighbours, up to `limit` bytes together."""
    frame: list[Ready] = []
    size = 0
    for one in ready:
        if frame and size + len(one.payload) > limit:
            yield frame
            frame, size = [], 0
        frame.append(one)
        size += len(one.payload)
    yield frame
