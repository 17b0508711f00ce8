"""Decides how files travel, and knows which are on their way. On the engine thread.

The few small files of a save go out here and now, in one frame on the control
channel; many or large ones become jobs of the bulk streams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...agent import wire
from ...core.plan import SMALL, LocalStat
from ...remote.client import Reply
from ..loop import EngineLoop
from ..memory import give_back
from ..store import Store
from ..uplink import Uplink
from .large_file import LargeFile
from .transfer import Item, Outcome, Ready, SmallBatch, finish, prepare

_FEW = 64  # files; more go over the bulk streams
_BURST = 1 << 20  # bytes; likewise
_BATCH_FILES = 128
_BATCH_BYTES = 1 << 20
_CONTROL_WINDOW = 4 << 20  # bytes on their way on the control channel

OnEnded = Callable[[Sequence[Outcome]], None]


@dataclass
class Wave:
    """What was sent since the mirror was last at rest, for progress."""

    files: int = 0
    bytes: int = 0
    files_total: int = 0
    bytes_total: int = 0


@dataclass
class Tally:
    """What arrived on the VM since the session began."""

    files: int = 0
    bytes: int = 0  # of the files
    wire: int = 0  # bytes that went over the link for them
    deleted: int = 0


@dataclass
class _Flight:
    """A path on its way: as it looked, the hashes sent, oldest first, and how."""

    stat: LocalStat
    hashes: list[str] = field(default_factory=list)
    by_bulk: bool = False


class Dispatch:
    """`on_ended` gets every outcome, on the engine thread."""

    def __init__(
        self, root: Path, store: Store, loop: EngineLoop, on_ended: OnEnded
    ) -> None:
        self._root = root
        self._store = store
        self._loop = loop
        self._on_ended = on_ended
        self._flights: dict[str, _Flight] = {}
        self._control_bytes = 0
        self._uplink: Uplink | None = None
        self._is_unsynced = False
        self._is_settled = True
        self.wave = Wave()

    # --- what is on its way -------------------------------------------------------

    def __contains__(self, path: str) -> bool:
        return path in self._flights

    def __len__(self) -> int:
        return len(self._flights)

    def must_wait(self, path: str, size: int = 0) -> bool:
        """Streams keep no order among them: one version of a path at a time. A large
        one (`size` in bytes) also waits for what is on the control channel."""
        flight = self._flights.get(path)
        return flight is not None and (flight.by_bulk or size > SMALL)

    def is_sending(self, path: str, stat: LocalStat) -> bool:
        """Whether the file is on its way exactly as it looks now."""
        flight = self._flights.get(path)
        return flight is not None and flight.stat == stat

    def newest(self, path: str) -> str | None:
        """The hash that was sent last, if it is still on its way."""
        flight = self._flights.get(path)
        return flight.hashes[-1] if flight is not None and flight.hashes else None

    def still_sent(self, paths: Iterable[str]) -> list[tuple[str, str]]:
        """(path, hash) of newer versions that are on their way behind these."""
        flying = ((path, self._flights.get(path)) for path in paths)
        return [(p, one) for p, flight in flying if flight for one in flight.hashes]

    def has_room(self) -> bool:
        return self._control_bytes <= _CONTROL_WINDOW

    # --- sending ------------------------------------------------------------------

    def send(self, items: Sequence[Item], uplink: Uplink) -> None:
        """Small before large; many small ones in batches, neighbours together."""
        if uplink is not self._uplink:
            self._uplink, self._control_bytes = uplink, 0
        small = [item for item in items if item.stat.size <= SMALL]
        large = [item for item in items if item.stat.size > SMALL]
        self.begin_wave()
        self.wave.files_total += len(items)
        self.wave.bytes_total += sum(item.stat.size for item in items)
        if len(small) <= _FEW and sum(item.stat.size for item in small) <= _BURST:
            self._send_now(small, uplink)
        else:
            # Behind a version on the control channel, so that they stay in order.
            fresh = [item for item in small if item.path not in self]
            self._send_now([item for item in small if item.path in self], uplink)
            for batch in _batches(sorted(fresh, key=lambda item: item.path)):
                self._take_off(batch)
                uplink.bulk.put(
                    SmallBatch(self._root, batch, self._store, self._deliver)
                )
        for item in sorted(large, key=lambda item: item.stat.size):
            self._take_off([item])
            uplink.bulk.put(
                LargeFile(self._root, item, self._store, self._deliver, self._progress)
            )

    def begin_wave(self) -> None:
        """What is sent from now on counts anew, unless more is on its way."""
        if self._is_settled:
            self._is_settled = False
            self.wave = Wave()

    def settle(self) -> None:
        """At rest: the wave is over, and the VM writes bulk data to disk."""
        self._is_settled = True
        if self._is_unsynced and self._uplink is not None:
            self._is_unsynced = False
            self._uplink.client.send({"op": "sync"}, b"", lambda reply: None)
            give_back()

    def _take_off(self, items: Iterable[Item]) -> None:
        self._is_unsynced = True
        for item in items:
            self._flights[item.path] = _Flight(item.stat, by_bulk=True)

    def _send_now(self, items: Sequence[Item], uplink: Uplink) -> None:
        steps = [prepare(self._root, item) for item in items]
        ready = [step for step in steps if isinstance(step, Ready)]
        self._ended([step for step in steps if isinstance(step, Outcome)])
        if not ready:
            return
        sent = [(one.item.path, one.known.hash) for one in ready]
        self._store.note_sent(sent, durable=True)
        for one in ready:
            path, stat = one.item.path, one.known.stat
            flight = self._flights.setdefault(path, _Flight(stat))
            flight.stat = stat
            flight.hashes.append(one.known.hash)
        data, packed = wire.deflate(b"".join(one.payload for one in ready))
        self._control_bytes += len(data)

        def replied(reply: Reply) -> None:
            self._loop.post(lambda: self._free(uplink, len(data)))
            self._deliver(finish(ready, reply, len(data)))

        meta = {"op": "put", "entries": [one.entry for one in ready], "z": packed}
        uplink.client.send(meta, data, replied)

    def _free(self, uplink: Uplink, size: int) -> None:
        if uplink is self._uplink:
            self._control_bytes -= size

    # --- what came back -----------------------------------------------------------

    def _deliver(self, outcomes: list[Outcome]) -> None:
        """From any thread."""
        self._loop.post(lambda: self._ended(outcomes))

    def _progress(self, size: int) -> None:
        """From any thread: a piece of a large file arrived."""

        def note() -> None:
            self.wave.bytes += size

        self._loop.post(note)

    def _ended(self, outcomes: Sequence[Outcome]) -> None:
        for one in outcomes:
            self._land(one)
        if outcomes:
            self._on_ended(outcomes)

    def _land(self, one: Outcome) -> None:
        size = one.item.stat.size
        if one.status == "ok":
            self.wave.files += 1
            self.wave.bytes += size - one.reported
        else:  # if it is tried again, it counts again
            self.wave.files_total -= 1
            self.wave.bytes_total -= size
            self.wave.bytes -= one.reported
        flight = self._flights.get(one.item.path)
        if flight is None or one.status == "flying":
            return
        if one.known is not None and one.known.hash in flight.hashes:
            flight.hashes.remove(one.known.hash)
        if flight.by_bulk or not flight.hashes:
            del self._flights[one.item.path]


def _batches(items: Sequence[Item]) -> Iterator[list[Item]]:
    batch: list[Item] = []
    size = 0
    for item in items:
        full = len(batch) >= _BATCH_FILES or size + item.stat.size > _BATCH_BYTES
        if batch and full:
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item.stat.size
    if batch:
        yield batch
