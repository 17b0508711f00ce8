"""Asks for what is to come home over one link: the most wanted first, bounded.

One thread asks, one per lane takes the answers. How much may be on its way follows the
pings (`traffic/congestion.py`), so that a save never waits behind it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from ...errors import DevsyncError, LinkLost
from ...remote.client import Meta
from ...remote.extras import load_extras
from ...remote.pulling import Lane, Parts
from ..uplink import Uplink
from . import contents
from .incoming import HashAnswer, Incoming, RangeAnswer
from .small import Batch

_LANES = 2

Item = Incoming | Batch
OnHashes = Callable[[list[str] | None, str], None]


class Fetcher:
    """One uplink's. Any thread; never blocks, but for `run`'s own."""

    def __init__(self, uplink: Uplink, on_ready: Callable[[], None]) -> None:
        self._uplink = uplink
        self._window = uplink.incoming
        self._on_ready = on_ready
        self._changed = threading.Condition()
        self._items: list[Item] = []  # the most wanted first
        self._lanes: list[Lane] = []
        self._closed = False
        self._next = 0
        self._is_able = True  # of the fast form of hashes, as far as is known

    def start(self) -> None:
        threading.Thread(target=self._run, name="devsync-pull-ask", daemon=True).start()

    @property
    def is_ready(self) -> bool:
        return bool(self._lanes) and not self._closed

    def use(self, items: list[Item]) -> None:
        """What is wanted now, the most wanted first."""
        with self._changed:
            self._items = items
            self._changed.notify_all()

    def wake(self) -> None:
        """Something may be asked for again."""
        with self._changed:
            self._changed.notify_all()

    def form(self) -> str:
        """Of a hash that is to be asked for, the fastest that the VM has."""
        return contents.fast_form() if self._is_able else contents.SHA256

    def digests(
        self, about: list[object], points: list[int], form: str, then: OnHashes
    ) -> None:
        """The VM's hashes of a file up to some points, of this form if it has that.
        `then` gets them, or None and "changed", why not, or "" if the link broke.
        Once it is ready."""
        self._lanes[0].ask(_digests(about, points, form), _Digests(then))

    def drop(self, about: list[object]) -> None:
        """The VM need not hold this version open any longer."""
        for lane in self._lanes[:1]:
            lane.tell({"op": "drop", "file": about})

    def close(self) -> None:
        """Asks for nothing more. A lost link ends its lanes itself, behind what had
        arrived and was not read yet: that need not come again."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if not self._uplink.client.is_lost:
            for lane in self._lanes:
                lane.close()

    # --- its thread ---------------------------------------------------------------

    def _run(self) -> None:
        try:
            if self._open():
                self._on_ready()
                while self._ask_one():
                    pass
        except DevsyncError as exc:
            if not self._closed:
                self._uplink.client.lose(exc)

    def _open(self) -> bool:
        """One more for hashes: they take long, and nothing shall wait behind them."""
        load_extras(self._uplink.client, "pulls")
        streams = self._uplink.open_streams(_LANES + 1)
        lanes = [Lane(stream, self._lane_over) for stream in streams]
        for number, lane in enumerate(lanes):
            lane.start(f"devsync-pull-lane-{number}")
        with self._changed:
            self._lanes = lanes
            is_closed = self._closed
        if is_closed:
            self.close()
        return not is_closed

    def _lane_over(self) -> None:
        """If not we have closed it: the link is broken, whoever else noticed."""
        if not self._closed:
            self._uplink.client.lose(LinkLost("A stream of files broke."))

    def _ask_one(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._hungry())
            # On a broken lane the same would be asked for again and again, until those
            # who are to close us get their turn.
            if self._closed or any(lane.is_over for lane in self._lanes):
                return False
            item = self._hungry()
        if isinstance(item, Batch):
            self._ask_files(item)
        elif item is not None and not item.is_digest_asked:
            self._ask_digest(item)
        else:
            self._ask_range()
        return True

    def _hungry(self) -> Item | None:
        for item in self._items:
            if isinstance(item, Batch):
                if not item.is_asked:
                    return item
            elif item.is_hungry or not item.is_digest_asked:
                return item
        return None

    def _ask_files(self, batch: Batch) -> None:
        self._window.acquire(batch.size)
        batch.is_asked = True  # if the link breaks before, the next one asks
        request = batch.ask_with(self._window)
        self._lane().ask(self._packed(request), batch)

    def _ask_digest(self, item: Incoming) -> None:
        item.is_digest_asked = True
        request = _digests(item.about, [item.version.size], item.form)
        self._lanes[0].ask(request, HashAnswer(item, self._see_form))

    def _see_form(self, content_hash: str) -> None:
        if contents.form_of(content_hash) == contents.SHA256:
            self._is_able = False

    def _ask_range(self) -> None:
        """Who is most wanted is decided when there is room, not before."""
        size = self._window.piece
        self._window.acquire(size)
        with self._changed:
            item = self._hungry()
        taken = item.take(size) if isinstance(item, Incoming) else None
        if not isinstance(item, Incoming) or taken is None:
            self._window.cancel(size)
            return
        start, end = taken
        self._window.cancel(size - (end - start))
        answer = RangeAnswer(item, start, end, self._window)
        size = end - start
        request = {"op": "range", "file": item.about, "offset": start, "size": size}
        self._lane().ask(self._packed(request), answer)

    def _packed(self, request: Meta) -> Meta:
        """On a slow link, compressing costs less than sending."""
        return {**request, "pack": True} if self._window.is_slow else request

    def _lane(self) -> Lane:
        lanes = self._lanes[1:] or self._lanes
        self._next += 1
        return lanes[self._next % len(lanes)]


def _digests(about: list[object], points: list[int], form: str) -> Meta:
    return {"op": "digests", "file": about, "points": points, "form": form}


class _Digests:
    """Implements `Answer` of remote/pulling.py."""

    def __init__(self, then: OnHashes) -> None:
        self._then = then

    def piece(self, parts: Parts) -> None:
        """None comes."""

    def done(self, meta: Meta) -> None:
        if "hashes" in meta:
            self._then(list(meta["hashes"]), "")
        else:
            self._then(None, str(meta.get("failed", "changed")))

    def lost(self) -> None:
        self._then(None, "")
