"""One push from beginning to end: looks, sends, and begins again when the link is back.

On a thread of its own, so that it may wait. What has arrived stays on the VM, so every
attempt sends only what is missing, whoever makes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ...core.events import Progress
from ...core.pushing import PushResult, Skipped
from ...errors import LinkLost, PushError, RemoteRefused
from ...remote.extras import load_extras
from ..access import Access
from ..link_watch import LinkWatch
from ..uplink import Uplink
from . import pieces
from .listing import FOLDER, Listing, Source, list_local, look, name_of, shown
from .order import Order
from .sending import Large, Sending, Tally, about
from .unpacking import Unpacker, size_unpacked

_CONNECT_S = 60.0
_LOOK_S = 0.1  # between two looks at progress and cancellation
_PAGE = 2000  # files asked about in one request
_BLOCK = 4096  # bytes; a small file takes that much of a disk
_OTHERS = ("other", "partly other")  # something else stands there
_LONG_S = 900.0  # to bring everything to the VM's disk


@dataclass(frozen=True)
class Target:
    """Where it goes, as the VM resolved it."""

    base: str
    path: str  # of a single file, below `base`; "" for a folder
    free: int
    shown: str


class Push:
    """`run` once."""

    def __init__(
        self,
        order: Order,
        access: Access,
        watch: LinkWatch,
        *,
        listing: Listing | None = None,
        may_replace: Callable[[Sequence[str]], bool] | None = None,
    ) -> None:
        """`listing`: these files, into the folder `remote`, instead of what stands at
        `local`. `may_replace` is asked once before other files there are; may block."""
        self._order = order
        self._spec = order.spec
        self._access = access
        self._watch = watch
        self._began = time.monotonic()
        self._tally = Tally()
        self._given = listing
        self._listing = listing or Listing(False)
        self._may_replace = may_replace
        self._answer: bool | None = None
        self._same: set[str] = set()
        self._left_out = list(self._listing.skipped)
        self._unpacked_size = 0  # bytes at least
        self._unpacked: dict[str, Any] | None = None
        self._arrived = 0  # bytes that are there, of files that have no name there
        self._unpacked_on = ""  # marker of the VM

    def run(self) -> PushResult:
        """PushError, LinkError, AgentError; CancelledError."""
        if self._given is None:
            self._listing = list_local(self._spec.local)
        if self._spec.unpack:
            self._unpacked_size = size_unpacked(self._spec.local)
        self._say("connecting")
        uplink = self._access.uplink(_CONNECT_S)
        while True:
            try:
                target = self._attempt(uplink)
                break
            except LinkLost:
                self._say("waiting for the link")
                uplink = self._watch.wait(self._order.cancel.is_set)
            finally:
                self._check_cancel()
        return self._result(target)

    # --- one attempt --------------------------------------------------------------

    def _attempt(self, uplink: Uplink) -> Target:
        load_extras(uplink.client, "pushes")
        target = self._open(uplink)
        if self._unpacked is None or self._unpacked_on != uplink.vm.marker:
            self._transfer(uplink, target)
        self._say("writing to disk", self._arrived)
        is_unsynced = self._tally.is_unsynced or self._spec.unpack
        self._ask(uplink, "done", base=target.base, sync=is_unsynced)
        return target

    def _transfer(self, uplink: Uplink, target: Target) -> None:
        todo, partly = self._compare(uplink, target)
        self._check_room(target, todo, partly)
        sending = Sending(
            uplink.bulk,
            target.base,
            self._tally,
            todo=todo,
            partly=partly,
            keep_pieces=self._leaves_pieces,
            fresh=self._may_replace is not None and not self._answer,
        )
        try:
            sending.start()
            while not sending.wait(_LOOK_S):
                self._check_cancel()
                self._say("pushing", sending.moved())
        finally:
            sending.stop()
            for large in sending.larges:
                self._tally.pieces[large.source.path] = (
                    large.source,
                    dict(large.arrived),
                )
        if self._spec.unpack and not self._tally.refused:
            unpacker = Unpacker(partial(self._ask, uplink), self._order)
            source = replace(self._listing.sources[0], path=target.path)
            in_pieces = sending.larges[0] if self._leaves_pieces else None
            self._unpacked = unpacker.run(target.base, source, in_pieces)
            self._unpacked_on = uplink.vm.marker
        self._arrived = sending.moved()

    def _open(self, uplink: Uplink) -> Target:
        kind = "folder" if self._listing.is_folder else "file"
        found = self._ask(
            uplink,
            "open",
            remote=self._spec.remote,
            name=shown(name_of(self._spec.local)),
            kind="inside" if self._spec.unpack or self._given else kind,
        )
        # An archive that does not stay has no name of its own there.
        path = self._spec.local.name if self._spec.unpack else found["path"]
        return Target(found["base"], path, found["free"], found["shown"])

    @property
    def _leaves_pieces(self) -> bool:
        return self._spec.unpack and not self._spec.keep_archive

    def _compare(
        self, uplink: Uplink, target: Target
    ) -> tuple[list[Source], list[Large]]:
        """What must be sent: of which nothing, and of which something is there."""
        todo: list[Source] = []
        partly: list[Large] = []
        self._same.clear()
        looked = list(self._look(uplink, target))
        kept = self._kept([one.path for one, state in looked if state in _OTHERS])
        for source, state in looked:
            if self._leaves_pieces:
                partly.append(self._large(uplink, target, source))
            elif source.path in kept:
                continue
            elif state == "same":
                if source.path not in self._tally.done and source.kind != FOLDER:
                    self._same.add(source.path)
            elif state.startswith("partly "):
                partly.append(self._large(uplink, target, source))
            elif state in ("new", "other"):
                todo.append(source)
            elif source.path not in self._tally.done:
                self._note_refused(source, state)
        return todo, partly

    def _kept(self, others: Sequence[str]) -> set[str]:
        """Those of the VM's files that somebody wants to keep as they are."""
        others = [path for path in others if path not in self._tally.done]
        if self._may_replace is None or not others:
            return set()
        if self._answer is None:
            self._answer = self._may_replace([shown(path) for path in others])
        if self._answer:
            return set()
        self._listing.skipped = self._left_out + [
            Skipped(shown(path), "the VM has another file there") for path in others
        ]
        return set(others)

    def _look(self, uplink: Uplink, target: Target) -> Iterator[tuple[Source, str]]:
        sources = self._listing.sources
        if target.path:
            sources = [replace(sources[0], path=target.path)]
        refused = {one.path for one in self._tally.refused}
        for start in range(0, len(sources), _PAGE):
            self._say("comparing")
            self._check_cancel()
            page = [
                one
                for one in sources[start : start + _PAGE]
                if shown(one.path) not in refused
            ]
            files = [_wish(one) for one in page]
            asked = self._ask(uplink, "look", base=target.base, files=files)
            yield from zip(page, asked["states"], strict=True)

    def _large(self, uplink: Uplink, target: Target, source: Source) -> Large:
        """What the VM has of a file, as far as it is this file's."""
        asked = self._ask(
            uplink,
            "have",
            base=target.base,
            path=source.path,
            source=about(source),
        )
        self._say("looking at what has arrived")
        there = {at: (length, found) for at, length, found in asked["pieces"]}
        sent, trusted = self._tally.pieces.get(source.path, (None, {}))
        looked_ns = time.time_ns()
        try:
            source = replace(look(source), path=source.path)
            there = pieces.within(there, source.size)
            known = pieces.still_true(
                source.name, there, trusted if sent == source else {}
            )
        except OSError:
            known = {}  # it will be told when it is sent
        return Large(source, pieces.gaps(known, source.size), known, looked_ns)

    def _check_room(
        self, target: Target, todo: Sequence[Source], partly: Sequence[Large]
    ) -> None:
        needed = sum(-(-one.size // _BLOCK) * _BLOCK for one in todo)
        needed += sum(
            large.source.size - pieces.total(large.arrived) for large in partly
        )
        if self._unpacked is None:
            needed += self._unpacked_size
        if needed > target.free:
            raise RemoteRefused(
                f"Not enough room on the VM for {self._spec.local}: it needs "
                f"{_size(needed)}, and {target.shown} has {_size(target.free)} free.",
                "Make room there, or push to another disk.",
            )

    def _ask(self, uplink: Uplink, do: str, **fields: Any) -> dict[str, Any]:
        meta = {"op": "push", "do": do, **fields}
        reply = uplink.client.request(meta, timeout_s=_LONG_S)
        try:
            return reply.meta()
        except RemoteRefused as exc:
            raise RemoteRefused(
                f"Cannot push to {self._spec.remote} on the VM: {exc.message}.",
                "REMOTE is a path from /, or relative to the project's folder there.",
            ) from exc

    # --- how far it is ------------------------------------------------------------

    def _note_refused(self, source: Source, reason: str) -> None:
        self._tally.refused.append(Skipped(shown(source.path), reason))

    def _check_cancel(self) -> None:
        if self._order.cancel.is_set():
            raise CancelledError

    def _say(self, message: str, moving: int = 0) -> None:
        self._order.progress(Progress(message, *self._numbers(moving)))

    def _numbers(self, moving: int) -> tuple[int, int, int, int]:
        """Files and bytes that are there, and all of them."""
        same = sum(one.size for one in self._listing.sources if one.path in self._same)
        files = self._tally.files + len(self._same)
        total = self._listing.bytes
        there = min(total, self._tally.bytes + moving + same)
        return files, self._listing.files, there, total

    def _result(self, target: Target) -> PushResult:
        tally = self._tally
        failed = [*self._listing.unreadable, *tally.refused]
        result = PushResult(
            target=target.shown,
            files=tally.files,
            bytes=tally.bytes,
            seconds=time.monotonic() - self._began,
            sent=tally.sent,
            same=len(self._same),
            replaced=tuple(sorted(tally.replaced)),
            skipped=tuple(self._listing.skipped),
            unpacked=self._unpacked,
        )
        if failed:
            raise PushError(_listing(failed, result), "Push again when that is solved.")
        return result


def _wish(source: Source) -> list[Any]:
    """As agent/deposit.py has it."""
    facts = (source.size, source.mtime_ns, source.executable, source.target)
    return [source.path, source.kind, *facts]


def _listing(failed: Sequence[Skipped], result: PushResult) -> str:
    if len(failed) == 1 and not result.files:
        return f"{failed[0]}; nothing was pushed."
    text = "; ".join(map(str, failed[:5]))
    more = f" (and {len(failed) - 5} more)" if len(failed) > 5 else ""
    files = "1 file" if len(failed) == 1 else f"{len(failed)} files"
    return f"{files} could not be pushed to {result.target}: {text}{more}."


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
