"""One front end's view of a run: every byte of its output once, across broken links.

A thread of its own reads; while `on_output` blocks, the run's output waits on the VM.
After a cut it asks for the rest, from the exact offsets it has delivered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import replace

from ...agent import wire
from ...core.runs import RunInfo, RunStream
from ...errors import (
    AgentCrashed,
    AgentError,
    DevsyncError,
    LinkError,
    LinkLost,
    UnknownRun,
)
from ..link_watch import LinkWatch
from .run_feed import STREAMS, RunFeed, info_of

OnRunOutput = Callable[[RunStream, int, bytes], None]
Tell = Callable[[RunInfo, Callable[[], None]], None]

_LAST_WORDS = 2048  # bytes of output in the message about a lost run
_PAUSES_S = (0.05, 0.2, 0.5, 1.0, 2.0)  # before trying again on a link that lives


class Attachment:
    """`started` tells what the run was when we came, `ended` how it ended. They fail
    with UnknownRun, LinkError, AgentError; `close` cancels them."""

    def __init__(
        self,
        run_id: str,
        on_output: OnRunOutput,
        watch: LinkWatch,
        tell: Tell,
        *,
        offsets: Mapping[RunStream, int] | None = None,
        follow: bool = True,
        feed: RunFeed | None = None,
    ) -> None:
        """`tell(info, then)` has the engine note `info`, then runs `then`."""
        self.run_id = run_id
        self.started: Future[RunInfo] = Future()
        self.ended: Future[RunInfo] = Future()
        self._on_output = on_output
        self._watch = watch
        self._tell = tell
        self._follow = follow
        given: Mapping[RunStream, int] = offsets or {}
        self._offsets = {name: given.get(name, 0) for name in STREAMS.values()}
        self._feed = feed
        self._marker = feed.marker if feed else ""
        self._info: RunInfo | None = None
        self._last = b""
        self._is_closed = False
        self._closing = threading.Event()

    # --- any thread ---------------------------------------------------------------

    def begin(self, error: DevsyncError | None = None) -> None:
        """The link is up, or will not be."""
        if error is not None:
            self._fail(error)
            return
        threading.Thread(target=self._run, name="devsync-run", daemon=True).start()

    def close(self) -> None:
        """Lets the run go on alone. Never blocks; idempotent."""
        self._is_closed = True
        self._closing.set()
        self._watch.wake()
        self.started.cancel()  # before its thread can tell that its stream broke
        self.ended.cancel()
        feed = self._feed
        if feed is not None:
            feed.close()

    # --- its thread ---------------------------------------------------------------

    def _run(self) -> None:
        try:
            info = self._to_the_end()
        except DevsyncError as exc:
            self._fail(exc)
        except Exception as exc:  # noqa: BLE001 - whoever waits for the end gets it
            self._fail(exc)
        else:
            if not self._is_closed:
                self._tell(info, lambda: _settle(self.ended, info))
        finally:
            if self._feed is not None:
                self._feed.close()

    def _fail(self, error: Exception) -> None:
        for future in (self.started, self.ended):
            with suppress(InvalidStateError):
                future.set_exception(error)

    def _to_the_end(self) -> RunInfo:
        failures = 0
        while True:
            try:
                feed = self._feed or self._open()
                if feed is None:
                    return self._lost("the VM was replaced")
                if self._is_closed:
                    raise LinkLost("Nobody is interested any more.")
                self._note(feed.info)
                failures = 0
                return self._pump(feed)
            except UnknownRun:
                if self._info is None:
                    raise
                return self._lost("the VM does not know it any more")
            except (LinkError, AgentError):
                self._drop()
                if failures == len(_PAUSES_S) or self._is_closed:
                    raise
                if not self._watch.is_wanted:
                    raise
                self._closing.wait(_PAUSES_S[failures])
                failures += 1

    def _drop(self) -> None:
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.close()

    def _open(self) -> RunFeed | None:
        """At what has been delivered; None if it is another VM than before."""
        uplink = self._watch.wait(lambda: self._is_closed)
        marker = uplink.vm.marker
        if self._marker not in ("", marker):
            return None
        self._marker = marker
        self._feed = feed = RunFeed(uplink.open_stream(), marker)
        feed.attach(
            {
                "op": "attach",
                "run": self.run_id,
                "offsets": self._offsets,
                "follow": self._follow,
            }
        )
        return feed

    def _note(self, info: RunInfo | None) -> None:
        assert info is not None
        self._info = info
        self._tell(info, lambda: _settle(self.started, info))

    def _pump(self, feed: RunFeed) -> RunInfo:
        while True:
            frame = feed.next()
            match frame.meta["op"]:
                case "output":
                    self._deliver(feed, frame)
                case "ready" if self._info is not None:
                    self._note(replace(self._info, port=int(frame.meta["port"])))
                case "exit":
                    self._info = info_of(frame.meta["run"])
                    return self._info

    def _deliver(self, feed: RunFeed, frame: wire.Frame) -> None:
        name = STREAMS[frame.meta["stream"]]
        offset = self._offsets[name]
        if frame.meta["offset"] != offset:
            raise AgentCrashed(
                f"Output of {self.run_id} came out of order: {frame.meta['offset']} "
                f"instead of {offset}."
            )
        if not self._is_closed:
            self._on_output(name, offset, frame.data)
        self._offsets[name] = offset + len(frame.data)
        self._last = (self._last + frame.data)[-_LAST_WORDS:]
        feed.ack(len(frame.data))

    def _lost(self, why: str) -> RunInfo:
        assert self._info is not None
        said = self._last.decode("utf-8", "replace").strip()
        more = f"; the last it printed:\n{said}" if said else ""
        return replace(self._info, state="lost", message=f"{why}{more}")


def _settle(future: Future[RunInfo], info: RunInfo) -> None:
    with suppress(InvalidStateError):  # it was closed meanwhile, or told before
        future.set_result(info)
