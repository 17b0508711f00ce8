"""One SSH channel (RFC 4254, section 5): windows, buffers, end of data, exit status.

`on_*` run on the transport's thread and never block or send, except for the rare
window update for stderr: a transport thread that sends can dead-lock with its peer.
`read`, `write` and `close` may each be on a thread of their own.
"""

from __future__ import annotations

import contextlib
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..errors import LinkError, LinkLost
from .base import Flow

WINDOW = 2**26
MAX_PACKET = 2**18
_STDERR_ADJUST_AT = WINDOW // 8
_STALL_S = 2.0  # what the peer has not taken by then waits there, and not on its way
_STDERR_TAIL = 32 * 1024
# OpenSSH's packet limit of 32,768 covers the header; and a packet of a connection
# that travels inside a channel of another one shall fit into one packet of that.
_HEADROOM = 192
_TOGETHER = 4  # packets in one go, for one lock and one system call

_DATA, _ADJUST, _EOF, _CLOSE, _REQUEST = b"\x5e", b"\x5d", b"\x60", b"\x61", b"\x62"
_SIGNALS = {
    "HUP": 1,
    "INT": 2,
    "QUIT": 3,
    "ILL": 4,
    "ABRT": 6,
    "FPE": 8,
    "KILL": 9,
    "SEGV": 11,
    "PIPE": 13,
    "ALRM": 14,
    "TERM": 15,
}


Packet = tuple[bytes | memoryview, ...]
"""A packet's payload, in pieces."""


class Sender(Protocol):
    """What a channel needs of its transport."""

    def send_packets(self, *packets: Packet) -> None:
        """Encrypts and writes them at once; blocks while the wire is full. LinkLost."""

    def forget(self, number: int) -> None:
        """Both sides have closed channel `number`."""

    def loss(self) -> str:
        """Why the connection ended, for people."""


class Refusal(Exception):
    """The server did not open the channel; `code` as in RFC 4254, section 5.1."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True)
class Opening:
    """A channel to be opened: its type, name for people, and the type's own fields."""

    kind: str
    label: str
    payload: bytes = b""


SESSION = Opening("session", "a session on the VM")


class _Unbounded:
    """Implements `Flow`: as much as the windows admit."""

    def on_read(self, size: int) -> int:
        return WINDOW

    def may_send(self) -> int:
        return WINDOW

    def on_taken(self, size: int) -> None: ...

    def close(self) -> None: ...


class SshChannel:
    """Implements `Stream` and `ExecStream` of link/base.py."""

    def __init__(
        self, sender: Sender, number: int, label: str, flow: Flow | None = None
    ) -> None:
        self._sender = sender
        self._flow: Flow = flow or _Unbounded()
        self.number = number
        self.label = label  # for error messages: "127.0.0.1:8888 on the VM"
        lock = threading.Lock()
        self._lock = lock
        self._readable = threading.Condition(lock)
        self._writable = threading.Condition(lock)
        self._settled = threading.Condition(lock)  # opened, refused, ended
        self._remote = b""  # the peer's channel number, packed; empty until opened
        self._refusal: Refusal | None = None
        self._chunks: deque[memoryview] = deque()
        self.window = self._flow.on_read(0)  # to open with
        self._granted = self.window  # what may arrive or has, and was not read
        self._out_window = 0
        self._untaken = 0  # sent, and not yet given back to our window
        self._out_packet = 0
        self._ended = False  # the peer sends no more data
        self._peer_closed = False
        self._closed = False  # by us
        self._eof_sent = False
        self._lost = False
        self._failed_request = False
        self._stderr = bytearray()
        self._stderr_consumed = 0
        self._status: int | None = None

    # --- the user's side ----------------------------------------------------------

    def wait_open(self, timeout_s: float | None = None) -> None:
        """Blocks until the peer answered. Refusal, LinkLost, TimeoutError."""

        def is_settled() -> bool:
            return bool(self._remote or self._refusal or self._lost)

        with self._lock:
            if not self._settled.wait_for(is_settled, timeout_s):
                raise TimeoutError
            if self._refusal is not None:
                raise self._refusal
            if not self._remote:
                raise self._loss()

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; b"" at the end. LinkLost, LinkError (exec refused)."""
        return b"".join(self.read_parts(size))

    def read_parts(self, size: int) -> Sequence[memoryview]:
        """The same, as it came and without a copy; [] at the end."""
        with self._lock:
            while not self._chunks:
                if self._ended or self._closed:
                    break
                if self._lost:
                    raise self._loss()
                self._readable.wait()
            parts = self._take(size)
            adjust = self._grant(sum(map(len, parts)))
            refused = not parts and self._failed_request and not self._closed
            over = not parts and self._peer_closed
        if adjust:
            self._send(_ADJUST, struct.pack(">I", adjust))
        if over or refused:
            self.close()
        if refused:
            raise LinkError(f"the SSH server refused to run {self.label}")
        return parts

    def write(self, *parts: bytes | memoryview) -> None:
        """All of them; blocks while the window is full. LinkLost, also when the other
        end has closed this channel."""
        pending = deque(memoryview(part).cast("B") for part in parts if len(part))
        left = sum(map(len, pending))
        while left:
            size = self._reserve(left)
            self._sender.send_packets(*self._packets(pending, size))
            left -= size

    def close_write(self) -> None:
        """Says that no more data comes; reading goes on. Idempotent."""
        with self._lock:
            if self._eof_sent or self._closed or self._lost or self._peer_closed:
                return
            self._eof_sent = True
            self._writable.notify_all()
        self._send(_EOF)

    def close(self) -> None:
        """Idempotent; wakes blocked readers and writers."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._flow.close()
            self._chunks.clear()
            self._notify()
            silent = self._lost or not self._remote
            both = self._peer_closed
        if not silent:
            with contextlib.suppress(LinkLost):  # nobody is left to be told
                self._send(_CLOSE)
        if both:
            self._sender.forget(self.number)

    def is_open(self) -> bool:
        """Whether more may come, as far as is known."""
        return not (self._ended or self._closed or self._lost)

    def wait_end(self) -> None:
        """Until either side has closed the whole channel, or the link is lost."""
        with self._lock:
            while not (self._peer_closed or self._closed or self._lost):
                self._settled.wait()

    def request(self, kind: bytes, payload: bytes) -> None:
        """Sends a channel request; a refusal shows when reading."""
        head = struct.pack(">I", len(kind)) + kind + b"\x01"
        self._send(_REQUEST, head + payload)

    def stderr_tail(self) -> bytes:
        with self._lock:
            return bytes(self._stderr)

    def exit_status(self, timeout_s: float) -> int | None:
        """128 + n if killed by signal n, 255 if the server did not tell. None if it
        has not ended in time. LinkLost, LinkError (exec refused)."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            while self._status is None and not self._is_over():
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._settled.wait(left)
            if self._status is not None:
                return self._status
            if self._failed_request:
                raise LinkError(f"the SSH server refused to run {self.label}")
            if self._peer_closed:
                return 255
            raise self._loss()

    # --- the transport's side -----------------------------------------------------

    def on_open(self, remote: int, window: int, max_packet: int) -> None:
        with self._lock:
            self._remote = struct.pack(">I", remote)
            self._out_window = window
            self._out_packet = max(1024, min(max_packet, MAX_PACKET) - _HEADROOM)
            self._settled.notify_all()
            abandoned = self._closed
        if abandoned:
            self._send(_CLOSE)

    def on_refusal(self, refusal: Refusal) -> None:
        with self._lock:
            self._refusal = refusal
            self._settled.notify_all()

    def on_data(self, data: memoryview) -> None:
        with self._lock:
            if self._closed or not data:  # none would look like the end
                return
            self._chunks.append(data)
            self._readable.notify()

    def on_stderr(self, data: memoryview) -> None:
        with self._lock:
            self._stderr += data
            del self._stderr[:-_STDERR_TAIL]
            self._stderr_consumed += len(data)
            adjust = self._stderr_consumed
            if adjust < _STDERR_ADJUST_AT or self._closed or self._ended:
                return
            self._stderr_consumed = 0
        self._send(_ADJUST, struct.pack(">I", adjust))

    def on_window(self, size: int) -> None:
        self._flow.on_taken(size)
        with self._lock:
            self._out_window += size
            self._untaken = max(0, self._untaken - size)
            self._writable.notify_all()

    def on_eof(self) -> None:
        with self._lock:
            self._ended = True
            self._notify()

    def on_close(self) -> None:
        with self._lock:
            self._ended = self._peer_closed = True
            self._notify()
            both = self._closed
        if both:
            self._sender.forget(self.number)

    def on_request_failed(self) -> None:
        with self._lock:
            self._failed_request = True
            self._ended = True
            self._notify()

    def on_exit(self, status: int) -> None:
        with self._lock:
            self._status = status
            self._settled.notify_all()

    def on_exit_signal(self, name: str) -> None:
        self.on_exit(128 + _SIGNALS.get(name, 0))

    def on_lost(self) -> None:
        """The connection is gone; what has arrived can still be read."""
        with self._lock:
            self._lost = True
            self._notify()

    _unlink = on_lost  # paramiko calls it so when its thread ends

    # --- inside -------------------------------------------------------------------

    def _take(self, size: int) -> list[memoryview]:
        parts: list[memoryview] = []
        while self._chunks and size:
            part = self._chunks.popleft()
            if len(part) > size:
                self._chunks.appendleft(part[size:])
                part = part[:size]
            parts.append(part)
            size -= len(part)
        return parts

    def _grant(self, taken: int) -> int:
        """By how much to open the peer's window, now that so much was read."""
        self._granted -= taken
        window = self._flow.on_read(taken)
        adjust = window - self._granted
        if adjust < window // 8 or self._ended or self._closed:
            return 0
        self._granted += adjust
        return adjust

    def _packets(self, pending: deque[memoryview], size: int) -> Iterator[Packet]:
        """`size` bytes of what is pending."""
        while size:
            length = min(size, self._out_packet)
            data = _first(pending, length)
            yield (_DATA, self._remote, struct.pack(">I", length), *data)
            size -= length

    def _reserve(self, size: int) -> int:
        """How many of so many bytes may be sent now: some packets' worth."""
        with self._lock:
            while True:
                if self._lost:
                    raise self._loss()
                if self._closed or self._peer_closed or self._eof_sent:
                    raise LinkLost(f"{self.label}: the other end is closed")
                piece = min(size, self._out_window, _TOGETHER * self._out_packet)
                room = self._flow.may_send() - self._untaken
                if piece > room:  # one packet may go where nothing is on its way
                    piece = min(piece, self._out_packet)
                if piece and (piece <= room or not self._untaken):
                    break
                if not self._writable.wait(_STALL_S if piece else None):
                    self._untaken = 0
            self._out_window -= piece
            self._untaken += piece
            return piece

    def _send(self, kind: bytes, *parts: bytes | memoryview) -> None:
        self._sender.send_packets((kind, self._remote, *parts))

    def _is_over(self) -> bool:
        return self._peer_closed or self._failed_request or self._lost

    def _loss(self) -> LinkLost:
        return LinkLost(f"{self.label}: {self._sender.loss()}")

    def _notify(self) -> None:
        self._readable.notify_all()
        self._writable.notify_all()
        self._settled.notify_all()


def _first(pending: deque[memoryview], size: int) -> list[memoryview]:
    """Takes `size` bytes away, without a copy."""
    taken = []
    while size:
        piece = pending.popleft()
        if len(piece) > size:
            pending.appendleft(piece[size:])
            piece = piece[:size]
        taken.append(piece)
        size -= len(piece)
    return taken
