"""SSH packets under AES-GCM without paramiko's copies; all else is left to paramiko.

Of a packet of 32 kB, paramiko makes five copies on the way in and six on the way out,
each on the one interpreter that everything shares; the cipher itself takes a tenth of
that. Here it is one copy in, three out. Private names of paramiko's packetizer are
used, which is why pyproject.toml pins its series.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from paramiko.common import MSG_CHANNEL_DATA
from paramiko.message import Message
from paramiko.packet import Packetizer
from paramiko.ssh_exception import SSHException

from .channel import Packet

_READ_AHEAD = 256 << 10
_LARGEST = 1 << 20  # bytes; no packet that we allow a peer to send comes near
_TAG = 16
_SEQUENCE = 0xFFFFFFFF


TakeData = Callable[[memoryview], bool]
"""Takes the payload of a message of channel data to where it belongs, or says no."""


def _leave(payload: memoryview) -> bool:
    return False


class Packets(tuple[Packet, ...]):
    """Some to be sent in one go. paramiko's transport hands it on as it is."""

    __slots__ = ()


class ChannelData:
    """A message of channel data, as far as paramiko and we look at it."""

    __slots__ = ("_at", "_payload", "seqno")

    def __init__(self, payload: memoryview, seqno: int) -> None:
        self._payload = payload
        self._at = 1
        self.seqno = seqno

    def get_int(self) -> int:
        start, self._at = self._at, self._at + 4
        return int.from_bytes(self._payload[start : self._at], "big")

    def get_view(self) -> memoryview:
        """The length-prefixed bytes that come next."""
        size = self.get_int()
        return self._payload[self._at : self._at + size]

    def get_binary(self) -> bytes:
        """The same, as paramiko's own channels want it."""
        return bytes(self.get_view())


class QuickPacketizer(Packetizer):
    """Asks for new keys after 32 GiB instead of 512 MiB: within GCM's guidance of
    64 GiB, and rare. `RobustTransport` cures what made re-keying dangerous."""

    REKEY_BYTES = 2**35
    REKEY_PACKETS = 2**31
    REKEY_BYTES_OVERFLOW_MAX = 2**33  # all that may be in flight in our windows
    REKEY_PACKETS_OVERFLOW_MAX = 2**31

    _Packetizer__socket: Any
    _Packetizer__remainder: bytes
    _Packetizer__need_rekey: bool
    _Packetizer__write_lock: threading.RLock
    _Packetizer__aead_in: bool
    _Packetizer__aead_out: bool
    _Packetizer__block_engine_in: AESGCM
    _Packetizer__block_engine_out: AESGCM
    _Packetizer__iv_in: bytes
    _Packetizer__iv_out: bytes
    _Packetizer__sequence_number_in: int
    _Packetizer__sequence_number_out: int
    _Packetizer__received_bytes: int
    _Packetizer__received_packets: int
    _Packetizer__received_bytes_overflow: int
    _Packetizer__received_packets_overflow: int
    _Packetizer__sent_bytes: int
    _Packetizer__sent_packets: int

    def __init__(self, socket: Any) -> None:
        super().__init__(socket)
        self._ahead = memoryview(b"")
        self.take_data: TakeData = _leave

    def start_handshake(self, timeout: float) -> None:
        """No timer thread: our callers bound the handshake by closing the wire."""

    # --- in -----------------------------------------------------------------------

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:
        """For paramiko's own reading. EOFError, OSError."""
        return bytes(self._take(n))

    def read_message(self) -> tuple[int, Message]:
        """The next that `take_data` does not take. One thread only. EOFError, OSError,
        SSHException."""
        if not self._Packetizer__aead_in:
            return super().read_message()
        while True:
            payload, number = self._open_next()
            kind = payload[0]
            if kind != MSG_CHANNEL_DATA:
                break
            # Asked for new keys, paramiko has to have its turn.
            if self._Packetizer__need_rekey or not self.take_data(payload):
                return kind, ChannelData(payload, number)  # type: ignore[return-value]
        message = Message(bytes(payload[1:]))
        message.seqno = number
        return kind, message

    def _open_next(self) -> tuple[memoryview, int]:
        """The next packet's payload and number."""
        head = self._take(4)
        size = int.from_bytes(head, "big")
        if not 0 < size <= _LARGEST:
            raise SSHException(f"a packet of {size} bytes")
        sealed, iv = self._take(size + _TAG), self._Packetizer__iv_in
        try:
            plain = self._Packetizer__block_engine_in.decrypt(iv, sealed, head)
        except InvalidTag as exc:
            raise SSHException("Mismatched MAC") from exc
        self._Packetizer__iv_in = _next(iv)
        payload = memoryview(plain)[1 : size - plain[0]]
        number = self._Packetizer__sequence_number_in
        self._Packetizer__sequence_number_in = (number + 1) & _SEQUENCE
        self._count_in(size + _TAG + 4)
        return payload, number

    def _take(self, size: int) -> memoryview:
        """The next bytes of the wire, mostly without a copy."""
        ahead = self._ahead
        if size <= len(ahead):
            self._ahead = ahead[size:]
            return ahead[:size]
        parts: list[bytes | memoryview] = [ahead]
        missing = size - len(ahead)
        while missing > 0:
            more = memoryview(self._more())
            parts.append(more[:missing])
            self._ahead = more[missing:]
            missing -= len(parts[-1])
        return memoryview(
            parts[1] if not ahead and len(parts) == 2 else b"".join(parts)
        )

    def _more(self) -> bytes:
        # What came with the banner is still with paramiko.
        data, self._Packetizer__remainder = self._Packetizer__remainder, b""
        data = data or self._Packetizer__socket.recv(_READ_AHEAD)
        if not data:
            raise EOFError
        return data

    def _count_in(self, size: int) -> None:
        self._Packetizer__received_bytes += size
        self._Packetizer__received_packets += 1
        if self._Packetizer__need_rekey:  # asked for: some may still be under way
            self._Packetizer__received_bytes_overflow += size
            self._Packetizer__received_packets_overflow += 1
            if (
                self._Packetizer__received_bytes_overflow
                >= self.REKEY_BYTES_OVERFLOW_MAX
                or self._Packetizer__received_packets_overflow
                >= self.REKEY_PACKETS_OVERFLOW_MAX
            ):
                raise SSHException("Remote transport is ignoring rekey requests")
        elif (
            self._Packetizer__received_bytes >= self.REKEY_BYTES
            or self._Packetizer__received_packets >= self.REKEY_PACKETS
        ):
            self._ask_for_keys()

    # --- out ----------------------------------------------------------------------

    def send_message(self, data: Any) -> None:
        """Any thread; `data` is a message of paramiko's, or some Packets."""
        packets = data if isinstance(data, Packets) else Packets(((data.asbytes(),),))
        if not self._Packetizer__aead_out:
            for parts in packets:
                super().send_message(Message(b"".join(parts)))
            return
        with self._Packetizer__write_lock:
            sealed = b"".join(piece for parts in packets for piece in self._seal(parts))
            self.write_all(sealed)
            self._count_out(len(sealed), len(packets))

    def _seal(self, parts: Packet) -> tuple[bytes, bytes]:
        """As it goes over the wire: the length, and the rest."""
        head, plain = _packed(parts)
        iv = self._Packetizer__iv_out
        sealed = self._Packetizer__block_engine_out.encrypt(iv, plain, head)
        self._Packetizer__iv_out = _next(iv)
        number = self._Packetizer__sequence_number_out
        self._Packetizer__sequence_number_out = (number + 1) & _SEQUENCE
        return head, sealed

    def _count_out(self, size: int, count: int) -> None:
        self._Packetizer__sent_bytes += size
        self._Packetizer__sent_packets += count
        is_much = (
            self._Packetizer__sent_bytes >= self.REKEY_BYTES
            or self._Packetizer__sent_packets >= self.REKEY_PACKETS
        )
        if is_much and not self._Packetizer__need_rekey:
            self._ask_for_keys()

    def _ask_for_keys(self) -> None:
        self._Packetizer__received_bytes_overflow = 0
        self._Packetizer__received_packets_overflow = 0
        self._trigger_rekey()  # type: ignore[attr-defined]


def _packed(parts: Packet) -> tuple[bytes, bytes]:
    """RFC 4253 section 6, RFC 5647 section 7.3: the length, which is only proven, and
    the rest, which is encrypted, to whole blocks of 16 bytes."""
    size = sum(map(len, parts)) + 1
    padding = 4 + (-size - 4) % 16
    plain = b"".join((bytes((padding,)), *parts, os.urandom(padding)))
    return struct.pack(">I", size + padding), plain


def _next(iv: bytes) -> bytes:
    """RFC 5647 section 7.1: its last eight bytes count."""
    count = int.from_bytes(iv[4:], "big") + 1
    return iv[:4] + (count & (1 << 64) - 1).to_bytes(8, "big")
