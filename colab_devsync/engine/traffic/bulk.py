"""Bulk transfers: many streams, bounded memory, compression where it pays.

Compressing costs more time than a fast link needs for the bytes, so it starts when the
pings show that bytes stand in the link's queue.

One thread per stream takes jobs from one queue; a job reads, hashes, compresses and
writes. Acknowledgements come over the control channel. Knows jobs and frames, not
what they mean; never touches a session's state.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from ...agent import wire
from ...errors import DevsyncError, LinkLost
from ...link.base import Stream
from ...remote.client import AgentClient, Meta, OnReply, Reply
from .congestion import Window

_log = logging.getLogger(__name__)

_END, _URGENT, _NORMAL, _LATER = range(4)  # ranks of jobs; the lowest comes first


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
        self._jobs: queue.PriorityQueue[tuple[int, int, Job | None]]
        self._jobs = queue.PriorityQueue()
        self._serial = itertools.count()  # jobs of equal rank stay in order
        self._lock = threading.Lock()  # no job may slip in behind `close`
        self._streams: tuple[Stream, ...] = ()
        self._started = False
        self._closed = False
        self.window = Window()

    def put(self, job: Job) -> None:
        """Queues a job; from the engine thread only."""
        self._queue(_NORMAL, job)
        self.open()

    def put_next(self, job: Job) -> None:
        """Queues a job before all that wait; from a job that runs."""
        self._queue(_URGENT, job)

    def put_later(self, job: Job) -> None:
        """Queues a job behind all others, so that a save is never behind it; from any
        thread."""
        self._queue(_LATER, job)
        self.open()

    def _queue(self, rank: int, job: Job) -> None:
        with self._lock:
            if not self._closed:
                self._jobs.put((rank, next(self._serial), job))
                return
        job.fail(LinkLost("The connection was closed."))

    def open(self) -> None:
        """Opens the streams, if that has not begun; who expects jobs saves a trip."""
        with self._lock:
            if self._started or self._closed:
                return
            self._started = True
        threading.Thread(
            target=self._start, name="devsync-bulk-open", daemon=True
        ).start()

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
        while (job := self._jobs.get()[2]) is not None:
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

    def close(self) -> None:
        """Fails what waits; wakes and ends the threads."""
        with self._lock:
            self._closed = True
        self.window.close()
        while True:
            try:
                job = self._jobs.get_nowait()[2]
            except queue.Empty:
                break
            if job is not None:
                job.fail(LinkLost("The connection was closed."))
        self._end_streams()

    def _end_streams(self) -> None:
        for stream in self._streams:
            stream.close()
            self._jobs.put((_END, next(self._serial), None))


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

    def put_later(self, job: Job) -> None:
        self._bulk.put_later(job)

    def request(self, meta: Meta) -> Meta:
        """A question on the control channel."""
        return self._client.request(meta).meta()

    def send(self, meta: Meta, parts: Sequence[bytes], on_reply: OnReply) -> int:
        """Sends a frame, compressed if the link is slower. Returns its size. `parts`:
        its data, in pieces, which need not be joined for that."""
        if self._bulk.window.is_slow:
            data, meta["z"] = wire.deflate(b"".join(parts))
            parts = (data,)
        size = sum(map(len, parts))
        self._bulk.window.acquire(size)
        sent_at = time.monotonic()

        def replied(reply: Reply) -> None:
            self._bulk.window.release(size, time.monotonic() - sent_at)
            on_reply(reply)

        head = self._client.head(meta, size, replied)
        self._stream.write(head, *parts)
        return len(head) + size
