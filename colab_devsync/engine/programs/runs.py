"""The programs that the VM keeps going for us: start, attach, list, stop.

Any thread may call; what is known of them is kept on the engine thread. Runs that
nobody watches are asked about now and then, so that `snapshot` stays true.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from typing import Any

from ...core.events import Emit, OnProgress, RunChanged, Status
from ...core.runs import PortWait, RunInfo, RunKind, RunSpec, RunStream
from ...errors import DevsyncError, LinkLost
from ...remote.client import Reply
from ..link_watch import LinkWatch
from ..loop import EngineLoop
from ..reach import Reach
from ..uplink import Uplink
from .attachment import Attachment, OnRunOutput
from .known_runs import KnownRuns
from .run_command import Command, command_of
from .run_feed import RunFeed, info_of, unknown_run
from .run_start import Flush, Order, RunStart, start_in_thread

__all__ = ["Attachment", "Runs"]

_ASK_S = 5.0  # between questions about runs that nobody watches
_OFFER_S = 5.0  # for the first to attach to take the stream a run was started on
_STOP_S = 0.5  # for a stopped run to end before the answer
_FORGET_S = 600.0  # offline for so long: nobody knows whether it runs
_AGAIN_S = 0.1  # before a question is asked again
_HEED_S = 0.1


class Runs:
    def __init__(
        self,
        loop: EngineLoop,
        reach: Reach,
        *,
        flush: Flush,
        status: Callable[[], Status],
        emit: Emit,
    ) -> None:
        self._loop = loop
        self._reach = reach
        self._flush = flush
        self._status = status
        self._watch = LinkWatch()
        self._known = KnownRuns(lambda run: emit(RunChanged(run)))
        self._offers: dict[str, RunFeed] = {}
        self._lock = threading.Lock()  # of offers and attachments
        self._attached: set[Attachment] = set()
        self._is_asking = False
        self._online_at = 0.0

    # --- the public face ----------------------------------------------------------

    @property
    def snapshot(self) -> tuple[RunInfo, ...]:
        """Those that run, and that ended while we looked. At once, any thread."""
        return self._known.snapshot

    @property
    def is_any_running(self) -> bool:
        """Whether the VM works for us, as far as we know. At once, any thread."""
        is_fresh = time.monotonic() - self._online_at < _FORGET_S
        return is_fresh and any(run.state == "running" for run in self.snapshot)

    def start(
        self,
        spec: RunSpec,
        *,
        kind: RunKind = "run",
        sync: bool = True,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
        wait_port: PortWait | None = None,
    ) -> Future[RunInfo]:
        """Flushes the mirror, starts the program; done when it runs, and with
        `wait_port` when its port is known, or will not be (`message` says why).
        RunError, SyncError, LinkError, AgentError; CancelledError by `cancel`."""
        future: Future[RunInfo] = Future()

        def command(uplink: Uplink) -> Command:
            config = self._reach.config
            assert config is not None
            return command_of(spec, config, uplink.vm.root, kind, wait_port)

        order = Order(
            command=command,
            flush=self._flush if sync else None,
            pending=lambda: self._status().pending,
            progress=progress,
            after=lambda: self._known.highest,
        )

        start = RunStart(order, self._watch)
        accept = partial(self._started, future)
        fail = partial(self._not_started, future, start)

        def then(error: DevsyncError | None) -> None:
            if error is not None:
                _fail(future, error)
                return
            start_in_thread(start, accept, fail)
            if cancel is not None:
                self._heed(cancel, start, future)

        self._when_online(then)
        return future

    def attach(
        self,
        run_id: str,
        on_output: OnRunOutput,
        *,
        offsets: Mapping[RunStream, int] | None = None,
        follow: bool = True,
    ) -> Attachment:
        """Its output from `offsets` on, each byte once, in order, per stream; without
        `follow` only what is there. `on_output` runs on a thread of its own."""
        feed = None
        if follow and not any((offsets or {}).values()):
            feed = self._take_offer(run_id)
        attachment = Attachment(
            run_id,
            on_output,
            self._watch,
            self._tell,
            offsets=offsets,
            follow=follow,
            feed=feed,
        )
        with self._lock:
            self._attached.add(attachment)
        attachment.ended.add_done_callback(lambda future: self._detached(attachment))
        self._when_online(attachment.begin)
        return attachment

    def list(self) -> Future[tuple[RunInfo, ...]]:
        """All the VM knows, the oldest first. LinkError, AgentError."""
        return self._ask({"op": "runs"}, self._listed)

    def stop(
        self, run_id: str, kill: bool = False, *, grace_s: tuple[float, float] = (5, 5)
    ) -> Future[RunInfo]:
        """Begins to end it: INT, TERM after the first, KILL after the second of
        `grace_s`, or KILL now. Tells how it stands half a second later, at most.
        UnknownRun, LinkError, AgentError."""
        request = {
            "op": "stop",
            "run": run_id,
            "kill": kill,
            "grace_s": list(grace_s),
            "wait_s": _STOP_S,
        }
        return self._ask(request, self._stopped)

    def close(self) -> None:
        """Ends all attachments; the runs go on."""
        self._watch.close()
        with self._lock:
            attached, offers = list(self._attached), list(self._offers.values())
            self._offers.clear()
        for attachment in attached:
            attachment.close()
        for feed in offers:
            feed.close()

    # --- the link (engine thread) -------------------------------------------------

    def look(self) -> None:
        """After every batch of steps: is there another uplink?"""
        uplink = self._reach.uplink
        if uplink is not None:
            self._online_at = time.monotonic()
        if self._watch.tell(uplink, self._reach.is_wanted):
            assert uplink is not None
            self._known.use_vm(uplink.vm.marker)
            self._question()

    def _when_online(self, then: Callable[[DevsyncError | None], None]) -> None:
        def online(error: DevsyncError | None) -> None:
            self.look()
            then(error)

        self._loop.post(lambda: self._reach.when_online(online))

    def _question(self) -> None:
        """Asks how the runs stand; again later, while one runs that nobody watches."""
        uplink = self._reach.uplink
        if uplink is None:
            return
        expected = self._known.running

        def answered(reply: Reply) -> None:
            if reply.error is None:
                infos = _infos(reply)
                self._loop.post(lambda: self._take(infos, expected, uplink.vm.marker))

        uplink.client.send({"op": "runs"}, b"", answered)

    def _ask_later(self) -> None:
        """While it matters, and no attachment would tell anyway."""
        if self._is_asking or not self._unwatched():
            return

        def ask() -> None:
            self._is_asking = False
            self._question()
            self._ask_later()

        self._is_asking = True
        self._loop.after(_ASK_S, ask)

    def _unwatched(self) -> set[str]:
        with self._lock:
            watched = {attachment.run_id for attachment in self._attached}
        return self._known.running - watched

    def _ask(
        self, request: dict[str, Any], take: Callable[[Future[Any], Reply], None]
    ) -> Future[Any]:
        """A question on the control channel; again whenever the link breaks meanwhile,
        until nobody wants a link any more."""
        future: Future[Any] = Future()

        def answered(reply: Reply) -> None:
            if isinstance(reply.error, LinkLost) and self._reach.is_wanted:
                # We may hear of the loss before the reach does: no try is counted.
                self._loop.after(_AGAIN_S, lambda: self._when_online(then))
            elif reply.error is not None:
                _fail(future, reply.error)
            else:
                take(future, reply)

        def then(error: DevsyncError | None) -> None:
            uplink = self._reach.uplink
            if error is not None or uplink is None:
                _fail(future, error or LinkLost("The link went down again."))
                return
            uplink.client.send(
                request, b"", lambda reply: self._loop.post(lambda: answered(reply))
            )

        self._when_online(then)
        return future

    # --- what is known (engine thread) --------------------------------------------

    def _listed(self, future: Future[Any], reply: Reply) -> None:
        infos = _infos(reply)
        uplink = self._reach.uplink
        if uplink is not None:
            self._take(infos, set(), uplink.vm.marker)
        _settle(future, infos)

    def _stopped(self, future: Future[Any], reply: Reply) -> None:
        meta = reply.meta()
        if "unknown" in meta:
            _fail(future, unknown_run(meta["unknown"]))
            return
        info = info_of(meta["run"])
        self._note(info)
        _settle(future, info)

    def _take(
        self, infos: tuple[RunInfo, ...], expected: set[str], marker: str
    ) -> None:
        self._known.take(infos, expected, marker)
        self._ask_later()

    def _tell(self, info: RunInfo, then: Callable[[], None]) -> None:
        """From an attachment's thread."""

        def step() -> None:
            self._note(info)
            then()

        self._loop.post(step)

    def _note(self, info: RunInfo) -> None:
        self._known.note(info)
        self._ask_later()

    # --- streams that wait to be taken --------------------------------------------

    def _started(self, future: Future[RunInfo], feed: RunFeed, info: RunInfo) -> None:
        """On the thread of the start: whoever attaches soon gets its stream."""
        with self._lock:
            self._offers[info.id] = feed

        def step() -> None:
            self._known.show(info.id)
            self._note(info)
            self._loop.after(_OFFER_S, lambda: self._withdraw(info.id))
            _settle(future, info)

        self._loop.post(step)

    def _not_started(
        self, future: Future[RunInfo], start: RunStart, error: BaseException
    ) -> None:
        """On the thread of the start."""
        if start.is_cancelled and start.run_id:
            self.stop(start.run_id)  # it ran already, but was not to be used yet
        _fail(future, error)

    def _heed(
        self, cancel: threading.Event, start: RunStart, future: Future[RunInfo]
    ) -> None:
        """Looks now and then whether the start is to be given up."""
        if cancel.is_set():
            start.cancel()
        elif not future.done():
            self._loop.after(_HEED_S, lambda: self._heed(cancel, start, future))

    def _take_offer(self, run_id: str) -> RunFeed | None:
        with self._lock:
            return self._offers.pop(run_id, None)

    def _withdraw(self, run_id: str) -> None:
        feed = self._take_offer(run_id)
        if feed is not None:
            feed.close()

    def _detached(self, attachment: Attachment) -> None:
        with self._lock:
            self._attached.discard(attachment)
        self._loop.post(self._ask_later)


def _infos(reply: Reply) -> tuple[RunInfo, ...]:
    return tuple(info_of(meta) for meta in reply.meta()["runs"])


def _settle(future: Future[Any], value: object) -> None:
    with suppress(InvalidStateError):  # nobody waits any more
        future.set_result(value)


def _fail(future: Future[Any], error: BaseException) -> None:
    with suppress(InvalidStateError):
        future.set_exception(error)
