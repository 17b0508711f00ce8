"""Requests and replies over one agent channel.

The reader thread resolves replies; any thread may send (one lock). Knows frames, not
projects. Everything that waits is woken with LinkLost when the channel dies.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from ..agent import wire
from ..errors import (
    AgentCrashed,
    AgentError,
    Busy,
    DevsyncError,
    LinkLost,
    ProtocolMismatch,
    RemoteRefused,
)
from ..link.base import ExecStream, Stream

Meta = dict[str, Any]
OnReply = Callable[["Reply"], None]

_BUFFER = 256 << 10


class Reply:
    """What came back: a frame, or the reason why none will."""

    __slots__ = ("_frame", "error")

    def __init__(
        self, frame: wire.Frame | None, error: DevsyncError | None = None
    ) -> None:
        self._frame = frame
        self.error = error

    def meta(self) -> Meta:
        """The reply's object. Raises what went wrong."""
        return self.frame().meta

    def frame(self) -> wire.Frame:
        if self.error is not None:
            raise self.error
        assert self._frame is not None
        return self._frame


def _reply(frame: wire.Frame) -> Reply:
    error = frame.meta.get("error")
    return Reply(frame, _as_exception(error) if error else None)


def _as_exception(error: Meta) -> DevsyncError:
    message = str(error.get("message"))
    match error.get("code"):
        case "refused":
            return RemoteRefused(message)
        case "taken":
            return Busy(
                f"The remote folder is in use by {message}.",
                "Disconnect there first; if that machine is gone, try again in "
                "two minutes.",
            )
        case "version" | "protocol":
            return ProtocolMismatch(
                f"The agent on the VM refused a request: {message}."
            )
        case _:
            return AgentCrashed(
                f"The agent on the VM failed inside:\n{message}",
                "This is a bug in colab-devsync; please report it with these lines.",
            )


class RawStream(io.RawIOBase):
    """A link's Stream as a raw file, for io.BufferedReader."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.heard_at = time.monotonic()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self.heard_at = time.monotonic()
        buffer[: len(data)] = data
        return len(data)


class AgentClient:
    """Created by remote.bootstrap once the agent has said its magic bytes."""

    def __init__(self, stream: ExecStream) -> None:
        self._stream = stream
        self._raw = RawStream(stream)
        self.reader = io.BufferedReader(self._raw, buffer_size=_BUFFER)
        self._sequence = itertools.count(1)
        self._waiting: dict[int, tuple[OnReply, float]] = {}
        self._lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._lost: DevsyncError | None = None
        self.on_lost: Callable[[DevsyncError], None] = lambda error: None
        self.extras: set[str] = set()  # see remote/extras.py
        self.extras_lock = threading.Lock()

    def start(self) -> None:
        threading.Thread(
            target=self._read, name="devsync-agent-reader", daemon=True
        ).start()

    # --- sending ------------------------------------------------------------------

    def send(self, meta: Meta, data: bytes, on_reply: OnReply) -> None:
        """Sends and returns. `on_reply` runs exactly once: on the reader thread, or
        here and now if the client is lost."""
        with contextlib.suppress(LinkLost, AgentError):  # then on_reply has it
            self.write(self.head(meta, len(data), on_reply), data)

    def head(self, meta: Meta, size: int, on_reply: OnReply) -> bytes:
        """A frame up to its `size` bytes of data; the sender lets the data follow, on
        any stream. The reply comes over the control channel.

        Raises (after telling `on_reply`) what the client was lost to.
        """
        with self._lock:
            if self._lost is None:
                sequence = next(self._sequence)
                self._waiting[sequence] = (on_reply, time.monotonic())
                return wire.head(sequence, meta, size)
        on_reply(Reply(None, self._lost))
        raise self._lost

    def write(self, *parts: bytes) -> None:
        """Writes a frame to the control channel; a failure loses the whole client."""
        try:
            with self._write_lock:
                self._stream.write(*parts)
        except LinkLost as exc:
            self.lose(exc)

    def request(self, meta: Meta, data: bytes = b"", timeout_s: float = 60.0) -> Reply:
        """Sends and waits. LinkLost, AgentError."""
        future: Future[Reply] = Future()
        self.send(meta, data, future.set_result)
        try:
            return future.result(timeout_s)
        except FutureTimeoutError:  # another class before Python 3.11
            error = AgentError(
                f"The agent did not answer {meta['op']!r} in {timeout_s:.0f} s."
            )
            return Reply(None, error)

    # --- receiving ----------------------------------------------------------------

    def _read(self) -> None:
        error: DevsyncError = AgentCrashed("A reply could not be handled.")
        try:
            for frame in iter(lambda: wire.read_frame(self.reader), None):
                with self._lock:
                    waiting = self._waiting.pop(frame.seq, None)
                if waiting is not None:
                    waiting[0](_reply(frame))
            error = AgentCrashed(f"The agent on the VM ended{self._last_words()}.")
        except LinkLost as exc:
            error = exc
        except wire.WireError as exc:
            error = AgentCrashed(
                f"The agent on the VM broke the protocol: {exc}{self._last_words()}."
            )
        finally:
            # Whatever happened: nobody must wait for an answer that can't come.
            self.lose(error)

    def _last_words(self) -> str:
        said = self._stream.stderr_tail().decode("utf-8", "replace").strip()
        return f"; it said: {said[-2000:]}" if said else ""

    # --- life ---------------------------------------------------------------------

    @property
    def is_lost(self) -> bool:
        return self._lost is not None

    def lost_error(self) -> DevsyncError:
        """Why the client is lost."""
        return self._lost or LinkLost("The connection was closed.")

    def silence_s(self) -> float:
        """Seconds since any byte was heard, or since the oldest unanswered request if
        that is later; 0 while nothing is awaited."""
        with self._lock:
            oldest = next(iter(self._waiting.values()), None)
        if oldest is None:
            return 0.0
        return time.monotonic() - max(self._raw.heard_at, oldest[1])

    @property
    def is_awaiting(self) -> bool:
        return bool(self._waiting)

    def lose(self, error: DevsyncError) -> None:
        """Ends the client: every waiting reply gets `error`. Idempotent."""
        with self._lock:
            if self._lost is not None:
                return
            self._lost = error
            waiting, self._waiting = list(self._waiting.values()), {}
        self._stream.close()
        for on_reply, _ in waiting:
            on_reply(Reply(None, error))
        self.on_lost(error)

    def close(self) -> None:
        self.lose(LinkLost("The connection was closed."))
