"""paramiko's transport, tuned, with our own channels on top.

paramiko does the key exchange, the ciphers and the host key's signature; channels,
authentication in one round trip and all waiting are ours. One thread per connection,
`devsync-ssh`, reads the wire and calls the channels. Private names of paramiko are
used here and nowhere else, which is why pyproject.toml pins its series.
"""

from __future__ import annotations

import logging
import struct
import threading
import time
from typing import Any

import paramiko
from paramiko.auth_handler import AuthHandler
from paramiko.common import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_OPEN_SUCCESS,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_SUCCESS,
    MSG_CHANNEL_WINDOW_ADJUST,
    MSG_UNIMPLEMENTED,
)
from paramiko.message import Message
from paramiko.packet import Packetizer

from ..errors import LinkLost
from .base import Flow
from .channel import MAX_PACKET, WINDOW, Opening, Packet, Refusal, SshChannel
from .packets import ChannelData, Packets, QuickPacketizer
from .wire import Wire

_LOG = logging.getLogger(__name__)
_LOG.addHandler(logging.NullHandler())  # silent unless the program asks
_OPEN = b"\x5a"
_CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
_MACS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)


class _BlockingSocket:
    """A `Wire` as paramiko wants it: always blocking, whatever it asks for."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._closed = False  # paramiko looks at this name
        self.recv = wire.recv
        self.send = wire.send

    def settimeout(self, timeout: float | None) -> None:
        """Not needed: `close` wakes a blocked read or write."""

    def close(self) -> None:
        self._closed = True
        self._wire.close()


class RobustTransport(paramiko.Transport):
    """Survives re-keying, and logs quietly.

    While keys are exchanged, paramiko lets senders wait until its own thread has read
    the new keys; when that thread itself sends (a reply to a channel that closes just
    then) it waits for itself, and the connection dies after 30 s. Here it puts such
    messages aside and sends them after the exchange.
    """

    _preferred_ciphers = _CIPHERS
    _preferred_macs = _MACS

    def __init__(
        self,
        wire: Wire,
        packetizer: type[Packetizer],
        *,
        window: int = WINDOW,
        max_packet: int = MAX_PACKET,
    ) -> None:
        super().__init__(
            _BlockingSocket(wire),  # type: ignore[arg-type]
            default_window_size=window,
            default_max_packet_size=max_packet,
            packetizer_class=packetizer,
        )
        self.name = "devsync-ssh"
        self._put_aside: list[Any] = []
        self.farewell = ""  # the peer's last words, if it ended the connection politely

    def _send_user_message(self, data: Any) -> None:
        if threading.current_thread() is self and not self.clear_to_send.is_set():
            self._put_aside.append(data)
            return
        super()._send_user_message(data)  # type: ignore[misc]

    def _parse_newkeys(self, m: Message) -> None:
        super()._parse_newkeys(m)  # type: ignore[misc]
        messages, self._put_aside = self._put_aside, []
        for message in messages:
            self._send_user_message(message)

    def _parse_disconnect(self, m: Message) -> None:
        m.get_int()
        self.farewell = m.get_text()

    def _log(self, level: int, msg: object, *args: object) -> None:
        # paramiko reports every lost connection as an error with a traceback; what
        # matters reaches people as our own errors
        if _LOG.isEnabledFor(logging.DEBUG):
            for line in msg if isinstance(msg, list) else [msg]:
                _LOG.debug(str(line), *args)


class _OneTripAuth(AuthHandler):
    """Sends the service request and the signed request together: RFC 4253 section 10
    asks to wait only after key exchanges without explicit server authentication."""

    _service_asked = False

    def _request_auth(self) -> None:
        if not self._service_asked:
            self._service_asked = True
            super()._request_auth()  # type: ignore[misc]
        accepted = Message()
        accepted.add_string("ssh-userauth")
        accepted.rewind()
        super()._parse_service_accept(accepted)  # type: ignore[misc]

    def _parse_service_accept(self, m: Message) -> None:
        """What we sent ahead is already on its way."""


def _data_of(m: Message | ChannelData) -> memoryview:
    """The length-prefixed bytes at the message's position, without a copy."""
    return m.get_view() if isinstance(m, ChannelData) else memoryview(m.get_binary())


def _on_extended(channel: SshChannel, m: Message) -> None:
    if m.get_int() == 1:
        channel.on_stderr(_data_of(m))


def _on_request(channel: SshChannel, m: Message) -> None:
    kind = m.get_text()
    m.get_boolean()  # neither of these two wants a reply
    if kind == "exit-status":
        channel.on_exit(m.get_int())
    elif kind == "exit-signal":
        channel.on_exit_signal(m.get_text())


class ClientTransport(RobustTransport):
    """The client's end of one connection."""

    def __init__(
        self, wire: Wire, packetizer: type[Packetizer] = QuickPacketizer
    ) -> None:
        super().__init__(wire, packetizer)
        self._wire = wire
        self._channels: dict[int, SshChannel] = {}  # read by paramiko's run()
        self._next_number = 0
        self._early: SshChannel | None = None  # opened before we were let in
        if isinstance(self.packetizer, QuickPacketizer):
            self.packetizer.take_data = self._take_data
        self._handler_table.update(  # type: ignore[attr-defined]
            {
                MSG_CHANNEL_OPEN_SUCCESS: self._on_open_success,
                MSG_CHANNEL_OPEN_FAILURE: self._on_open_failure,
                MSG_UNIMPLEMENTED: self._on_unimplemented,
            }
        )

    # --- the connection -----------------------------------------------------------

    def handshake(self, deadline: float) -> paramiko.PKey:
        """Exchanges keys; returns the proven host key. TimeoutError, or what
        paramiko found."""
        done = threading.Event()
        self.start_client(event=done)
        self._await(done, deadline)
        if not self.active:
            raise self._cause()
        return self.get_remote_server_key()

    def authenticate(self, user: str, key: paramiko.PKey, deadline: float) -> bool:
        """One round trip. False: the server does not accept this key."""
        auth = self._authenticator()
        done = threading.Event()
        auth.auth_publickey(user, key, done)
        self._await(done, deadline)
        if auth.is_authenticated():
            return True
        if not self.active:
            raise self._cause()
        return False

    def authenticate_and_open(
        self, user: str, key: paramiko.PKey, deadline: float, opening: Opening
    ) -> SshChannel | None:
        """As `authenticate`, and opens a channel in the same flight, which saves a
        round trip for the first command. None: key not accepted."""
        auth = self._authenticator()
        done = threading.Event()
        auth.auth_publickey(user, key, done)
        self._early = self.open(opening)
        self._await(done, deadline)
        if auth.is_authenticated():
            return self._early
        if not self.active:
            raise self._cause()
        return None

    def shut(self) -> None:
        """Closes the wire first, so that nothing can block; then lets the thread end.
        Never blocks."""
        self.active = False
        self._wire.close()
        self.packetizer.close()
        self._lose_all()
        if self.completion_event is not None:
            self.completion_event.set()
        if self.auth_handler is not None:
            self.auth_handler.abort()

    def forget(self, number: int) -> None:
        self._channels.pop(number, None)

    def loss(self) -> str:
        if self.farewell:
            return f'the VM ended the connection: "{self.farewell}"'
        error = self.saved_exception
        if error is None or isinstance(error, EOFError):
            return "the connection to the VM was closed"
        return f"the connection to the VM broke ({error})"

    # --- channels -----------------------------------------------------------------

    def open(self, opening: Opening, flow: Flow | None = None) -> SshChannel:
        """Asks for a channel and does not wait; see `SshChannel.wait_open`."""
        with self.lock:
            number = self._next_number
            self._next_number += 1
            channel = SshChannel(self, number, opening.label, flow)
            self._channels[number] = channel
            self.channels_seen[number] = True
        name = opening.kind.encode()
        head = struct.pack(">I", len(name)) + name
        sizes = struct.pack(">III", number, channel.window, MAX_PACKET)
        if not self.active:
            channel.on_lost()
        self.send_packets((_OPEN, head, sizes, opening.payload))
        return channel

    def send_packets(self, *packets: Packet) -> None:
        if not self.active:
            raise LinkLost(self.loss())
        try:
            self._send_user_message(Packets(packets))
        except (EOFError, OSError, paramiko.SSHException) as error:
            raise LinkLost(self.loss()) from error

    def run(self) -> None:
        try:
            super().run()
        finally:
            self._lose_all()

    # --- paramiko calls these on its thread ---------------------------------------

    def _take_data(self, payload: memoryview) -> bool:
        """Channel data, past paramiko's own way to a channel's handler."""
        channel = self._channels.get(int.from_bytes(payload[1:5], "big"))
        if channel is None:
            return False
        channel.on_data(payload[9 : 9 + int.from_bytes(payload[5:9], "big")])
        return True

    def _on_open_success(self, m: Message) -> None:
        channel = self._channels.get(m.get_int())
        if channel is not None:
            channel.on_open(m.get_int(), m.get_int(), m.get_int())

    def _on_open_failure(self, m: Message) -> None:
        channel = self._channels.pop(m.get_int(), None)
        if channel is not None:
            code = m.get_int()
            channel.on_refusal(Refusal(code, m.get_text()))

    def _on_unimplemented(self, m: Message) -> None:
        """A server may not like a channel request before it let us in."""
        if self._early is not None:
            self._early.on_refusal(Refusal(0, "too early"))

    _channel_handler_table = {  # noqa: RUF012 - overrides paramiko's
        MSG_CHANNEL_DATA: lambda channel, m: channel.on_data(_data_of(m)),
        MSG_CHANNEL_EXTENDED_DATA: _on_extended,
        MSG_CHANNEL_WINDOW_ADJUST: lambda channel, m: channel.on_window(m.get_int()),
        MSG_CHANNEL_EOF: lambda channel, m: channel.on_eof(),
        MSG_CHANNEL_CLOSE: lambda channel, m: channel.on_close(),
        MSG_CHANNEL_REQUEST: _on_request,
        MSG_CHANNEL_SUCCESS: lambda channel, m: None,  # its output says so too
        MSG_CHANNEL_FAILURE: lambda channel, m: channel.on_request_failed(),
    }

    # --- inside -------------------------------------------------------------------

    def _authenticator(self) -> AuthHandler:
        if self.auth_handler is None:
            self.auth_handler = _OneTripAuth(self)
        return self.auth_handler

    def _await(self, done: threading.Event, deadline: float) -> None:
        if not done.wait(max(0.0, deadline - time.monotonic())):
            self.shut()
            raise TimeoutError

    def _cause(self) -> Exception:
        return self.saved_exception or EOFError()

    def _lose_all(self) -> None:
        for channel in list(self._channels.values()):
            channel.on_lost()
