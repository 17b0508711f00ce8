"""Bulk transfers: many streams, bounded memory, compression where it pays.

Compressing costs more time than a fast link needs for the bytes, so it starts when the
pings show that bytes stand in the link's queue.

One thread per stream takes jobs from one queue; a job reads, hashes, compresses and
writes. Acknowledgements come over the control channel. Knows jobs and frames, not
what they mean; never touches a session's state.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Protocol

from ..agent import wire
from ..errors import DevsyncError, LinkLost
from ..link.base import Stream
from ..remote.client import AgentClient, Meta, OnReply, Reply
from .congestion import Window

_log = logging.getLogger(__name__)


class Job(Protocol):
    """A step of a transfer, run on a stream's thread."""

    def run(self, lane: Lane) -> None:
        """May send any number of frames and queue more jobs."""

    def fail(self, error: DevsyncError) -> None:
        """The link is gone; called instead of, or after a failing, run."""


class Bulk:
    """The streams of one connection. `open_streams` runs at the first job."""

    def __init__(
        self,
        client: AgentClient,
        open_streams: Callable[[], tuple[Stream, ...]],
    ) -> None:
        # Reading many small files is the interpreter's work: taking turns is faster
        # than threads that hand it to one another at every system call.
        self.turn = threading.Lock()
        self._client = client
        self._open_streams = open_streams
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._urgent: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._streams: tuple[Stream, ...] = ()
        self._started = False
        self._closed = False
        self.window = Window()

    def put(self, job: Job) -> None:
        """Queues a job; from the engine thread only."""
        if self._closed:
            job.fail(LinkLost("The connection was closed."))
            return
        self._jobs.put(job)
        self.open()

    def open(self) -> None:
        """Opens the streams, if that has not begun; who expects jobs saves a trip."""
        if not self._started:
            self._started = True
            threading.Thread(
                target=self._start, name="devsync-bulk-open", daemon=True
            ).start()

    def put_next(self, job: Job) -> None:
        """Queues a job before all that wait; from a job that runs."""
        self._urgent.put(job)
        self._jobs.put(_Urgent(self._urgent))

    def _start(self) -> None:
        try:
            self._streams = self._open_streams()
        except DevsyncError as exc:
            self._client.lose(exc)
            self.close()
            return
        except Exception as exc:  # noqa: BLE001 - logged and reported
            _log.exception("the bulk streams could not be opened")
            self._client.lose(DevsyncError(f"No bulk streams: {exc!r}."))
            self.close()
            return
        for number, stream in enumerate(self._streams):
            lane = Lane(self, self._client, stream)
            threading.Thread(
                target=self._work,
                args=(lane,),
                name=f"devsync-bulk-{number}",
                daemon=True,
            ).start()
        if self._closed:
            self._end_streams()

    def _work(self, lane: Lane) -> None:
        while (job := self._next()) is not None:
            try:
                job.run(lane)
            except LinkLost as exc:
                self._client.lose(exc)
                job.fail(exc)
            except DevsyncError as exc:  # the VM refused this one
                job.fail(exc)
            except Exception as exc:  # noqa: BLE001 - logged and reported
                _log.exception("a bulk job failed")
                job.fail(DevsyncError(f"A transfer failed: {exc!r}."))

    def _next(self) -> Job | None:
        try:
            return self._urgent.get_nowait()
        except queue.Empty:
            return self._jobs.get()

    def close(self) -> None:
        """Fails what waits; wakes and ends the threads."""
        self._closed = True
        self.window.close()
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is not None:
                job.fail(LinkLost("The connection was closed."))
        self._end_streams()

    def _end_streams(self) -> None:
        for stream in self._streams:
            stream.close()
            self._jobs.put(None)


class _Urgent:
    """Wakes a thread for a job that came first; does nothing if it was taken."""

    def __init__(self, urgent: queue.SimpleQueue[Job]) -> None:
        self._urgent = urgent

    def _take(self) -> Job | None:
        try:
            return self._urgent.get_nowait()
        except queue.Empty:
            return None

    def run(self, lane: Lane) -> None:
        if (job := self._take()) is not None:
            job.run(lane)

    def fail(self, error: DevsyncError) -> None:
        if (job := self._take()) is not None:
            job.fail(error)


class Lane:
    """What a running job sees: one stream, and the queue."""

    def __init__(self, bulk: Bulk, client: AgentClient, stream: Stream) -> None:
        self._bulk = bulk
        self._client = client
        self._stream = stream

    @property
    def turn(self) -> threading.Lock:
        """To be held while computing, not while sending."""
        return self._bulk.turn

    @property
    def frame(self) -> int:
        """Bytes that a frame should carry at most now."""
        return self._bulk.window.frame

    @property
    def batch(self) -> int:
        """The same for many small files."""
        return self._bulk.window.batch

    def put_next(self, job: Job) -> None:
        self._bulk.put_next(job)

    def request(self, meta: Meta) -> Meta:
        """A question on the control channel."""
        return self._client.request(meta).meta()

    def send(self, meta: Meta, data: bytes, on_reply: OnReply) -> int:
        """Sends a frame, compressed if the link is slower. Returns its size."""
        if self._bulk.window.is_slow:
            data, meta["z"] = wire.deflate(data)
        size = len(data)
        self._bulk.window.acquire(size)

        def replied(reply: Reply) -> None:
            self._bulk.window.release(size)
            on_reply(reply)

        head = self._client.head(meta, data, replied)
        self._stream.write(head)
        self._stream.write(data)
        return len(head) + size
