"""Starts one run: the mirror is flushed, a stream is opened, both at once; then the
program is started, once, however often the link breaks on the way.

What the VM holds is not asked for first, which would cost a round trip: the order to
start says what it has to be. Only if it is something else, all is compared before.

On a thread of its own, which ends with the start.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, wait
from dataclasses import dataclass, field

from ...core.events import OnProgress, Progress
from ...core.runs import RunInfo
from ...errors import AgentError, LinkError, NotFlushed
from ..link_watch import LinkWatch
from ..uplink import Uplink
from .run_command import Command
from .run_feed import RunFeed

_REACH_S = 60.0  # for the link to come back
_FLUSH_S = 60.0  # without any progress of the mirror
_LOOK_S = 0.1
_TRIES = 25

Flush = Callable[..., Future[str]]  # see Session.flush


@dataclass(frozen=True)
class Order:
    """What is wanted."""

    command: Callable[[Uplink], Command]  # RunError
    flush: Flush | None  # None: the mirror does not matter
    pending: Callable[[], int]  # how many files are not on the VM
    progress: OnProgress | None
    after: Callable[[], int]  # the highest number we know of a run
    nonce: str = field(default_factory=lambda: uuid.uuid4().hex)


class RunStart:
    """`run` returns the open feed and how the run stands. RunError, NotFlushed and
    other SyncErrors, LinkError, AgentError, CancelledError."""

    def __init__(self, order: Order, watch: LinkWatch) -> None:
        self._order = order
        self._watch = watch
        self._flush: _Flush | None = None
        self._flushed_to = ""  # the VM's marker
        self._feed: RunFeed | None = None
        self._is_asking = False
        self.is_cancelled = False
        self.run_id = ""  # once the program runs

    def cancel(self) -> None:
        """Gives up. Any thread. What the VM is starting already is waited for: it has
        to be stopped by its id."""
        self.is_cancelled = True
        self._watch.wake()
        feed = self._feed
        if feed is not None and not self._is_asking:
            feed.close()

    def run(self) -> tuple[RunFeed, RunInfo]:
        try:
            return self._persist()
        except (LinkError, AgentError):
            if self.is_cancelled:
                raise CancelledError from None
            raise

    def _persist(self) -> tuple[RunFeed, RunInfo]:
        left = _TRIES
        while True:
            uplink = self._watch.wait(lambda: self.is_cancelled, _REACH_S)
            try:
                return self._attempt(uplink)
            except (LinkError, AgentError):
                left -= 1
                if not left or self.is_cancelled or not self._watch.is_wanted:
                    raise
                self._watch.pause(_LOOK_S)  # so long a dead link may look alive

    def _attempt(self, uplink: Uplink) -> tuple[RunFeed, RunInfo]:
        command = self._order.command(uplink)
        if self._flushed_to != uplink.vm.marker:  # what is done for one VM
            self._begin_flush(uplink, trust=True)  # is not done for another
        self._feed = feed = RunFeed(uplink.open_stream(), uplink.vm.marker)
        try:
            info = self._ask(feed, command)
            while info is None:
                self._begin_flush(uplink, trust=False)
                info = self._ask(feed, command)
            if command.wait_port is not None:
                info = feed.wait_ready()
            self._heed()
        except BaseException:
            feed.close()
            raise
        return feed, info

    def _ask(self, feed: RunFeed, command: Command) -> RunInfo | None:
        """None if something on the VM is not as we believed."""
        request = command.as_request(self._order.nonce, self._order.after())
        request["digest"] = self._await_flush()
        self._is_asking = True
        try:
            self._heed()
            info = feed.start(request)
            self.run_id = info.id if info else ""
        finally:
            self._is_asking = False
        self._heed()
        return info

    def _heed(self) -> None:
        if self.is_cancelled:
            raise CancelledError

    def _begin_flush(self, uplink: Uplink, *, trust: bool) -> None:
        if self._order.flush is not None:
            self._flushed_to = uplink.vm.marker
            self._flush = _Flush(self._order, self._order.flush, trust)

    def _await_flush(self) -> str:
        """The digest of what the VM has to hold; "" if that is as it may be."""
        if self._flush is None:
            return ""
        try:
            return self._flush.wait(lambda: self.is_cancelled)
        except BaseException:
            self._flushed_to = ""
            raise


class _Flush:
    """A flush that is given up when it stands still."""

    def __init__(self, order: Order, flush: Flush, trust: bool) -> None:
        self._order = order
        self._stop = threading.Event()
        self._moved = threading.Event()
        self._seen: Progress | None = None
        self._future = flush(trust=trust, progress=self._note, cancel=self._stop)

    def _note(self, progress: Progress) -> None:
        if progress != self._seen:
            self._seen = progress
            self._moved.set()
        if self._order.progress is not None:
            self._order.progress(progress)

    def wait(self, is_cancelled: Callable[[], bool]) -> str:
        """Its result. SyncError, LinkError, CancelledError; NotFlushed if it stands
        still."""
        quiet_s = 0.0
        while not wait([self._future], _LOOK_S).done:
            quiet_s = 0.0 if self._moved.is_set() else quiet_s + _LOOK_S
            self._moved.clear()
            if is_cancelled():
                self._stop.set()
                raise CancelledError
            if quiet_s > _FLUSH_S:
                self._stop.set()
                raise self._not_flushed()
        return self._future.result()

    def _not_flushed(self) -> NotFlushed:
        count = self._order.pending()
        files = "1 file" if count == 1 else f"{count} files"
        return NotFlushed(
            f"The mirror stands still: {files} of this project are not on the VM yet.",
            "`colab-devsync status` says why. `--no-sync` runs what is there.",
        )


def start_in_thread(
    start: RunStart,
    accept: Callable[[RunFeed, RunInfo], None],
    fail: Callable[[BaseException], None],
) -> None:
    """One of the two is called, on the thread."""

    def run() -> None:
        try:
            feed, info = start.run()
        except BaseException as exc:  # noqa: BLE001 - the caller gets it
            fail(exc)
        else:
            accept(feed, info)

    threading.Thread(target=run, name="devsync-run-start", daemon=True).start()
