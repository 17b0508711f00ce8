"""From a wire to an authenticated connection, and paramiko's errors to ours.

`open_connection` and the methods of `SshConnection` run on the caller's thread and
block; `SshConnection.close` may be called from any thread, at any time, and returns
at once even if the network is dead.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

import paramiko

from ..core.events import Ask
from ..errors import (
    AuthFailed,
    ConnectFailed,
    DevsyncError,
    ForwardRefused,
    LinkError,
    LinkLost,
)
from .base import Flow, Login
from .channel import SESSION, Opening, Refusal, SshChannel
from .hostkeys import HostKey, Trust
from .keys import Identity
from .transport import ClientTransport
from .wire import Wire

PROHIBITED, UNREACHABLE = 1, 2  # RFC 4254, section 5.1


@dataclass(frozen=True)
class Endpoint:
    """Who logs in where. `host` and `port` name the machine for people and pins;
    the bytes may travel another way, and then `name` says which machine it is."""

    user: str
    host: str
    port: int
    name: str = ""

    @property
    def machine(self) -> str:
        return self.name or f"{self.host}:{self.port}"

    @property
    def label(self) -> str:
        return f"{self.user}@{self.machine}"


def forward_to(host: str, port: int) -> Opening:
    """A direct-tcpip channel (RFC 4254, section 7.2)."""
    name, origin = host.encode(), b"127.0.0.1"
    parts = [
        *(struct.pack(">I", len(name)), name, struct.pack(">I", port)),
        *(struct.pack(">I", len(origin)), origin, struct.pack(">I", 0)),
    ]
    return Opening("direct-tcpip", f"{host}:{port} on the VM", b"".join(parts))


class SshConnection:
    """Implements `Connection` of link/base.py."""

    def __init__(
        self,
        transport: ClientTransport,
        endpoint: Endpoint,
        early: SshChannel | None,
        login: Login | None = None,
    ) -> None:
        self.login = login
        self._transport = transport
        self._endpoint = endpoint
        self._early = early  # a channel that is already being opened

    def exec(self, command: str, flow: Flow | None = None) -> SshChannel:
        """Starts `command` and does not wait for the answer: a refusal shows when
        reading. The first call costs no round trip, later ones one. LinkLost, and
        LinkError when the server admits no more sessions."""
        channel = None
        if flow is None:
            channel = self._early_one(SESSION)
        if channel is None:
            channel = self._open(SESSION, flow)
        channel.label = "the command on the VM"
        text = command.encode("utf-8", "surrogateescape")
        channel.request(b"exec", struct.pack(">I", len(text)) + text)
        return channel

    def connect_tcp(self, host: str, port: int, flow: Flow | None = None) -> SshChannel:
        """One round trip. ForwardRefused if the server admits no forwards at all,
        ConnectFailed if nothing answers at `host`:`port` there. LinkLost."""
        return self._open(forward_to(host, port), flow)

    def tunnel(self, host: str, port: int, timeout_s: float) -> SshChannel:
        """As `connect_tcp`, bounded; costs nothing if `open_connection` was told
        to open it. Refusal, LinkLost, TimeoutError."""
        wanted = forward_to(host, port)
        channel = self._early_one(wanted)
        if channel is None:
            channel = self._transport.open(wanted)
        channel.wait_open(timeout_s)
        return channel

    def is_alive(self) -> bool:
        """False as soon as the loss is known; a silent network is not noticed."""
        return self._transport.is_active()

    def close(self) -> None:
        self._transport.shut()

    def _early_one(self, wanted: Opening) -> SshChannel | None:
        """The channel opened with the authentication, if it is one of this kind and
        the server had nothing against so early a request."""
        early = self._early
        if early is None or early.label != wanted.label:
            return None
        self._early = None
        try:
            early.wait_open()
        except Refusal:
            return None
        return early

    def _open(self, opening: Opening, flow: Flow | None = None) -> SshChannel:
        channel = self._transport.open(opening, flow)
        try:
            channel.wait_open()
        except Refusal as refusal:
            raise self._refused(opening.kind, opening.label, refusal) from refusal
        return channel

    def _refused(self, kind: str, label: str, refusal: Refusal) -> LinkError:
        where = self._endpoint.label
        if kind == "session":
            return LinkError(
                f"{where} admits no more sessions ({refusal.reason or 'open failed'})",
                "close other terminals on this connection, or raise MaxSessions in "
                "the VM's sshd_config",
            )
        if refusal.code == UNREACHABLE:
            return ConnectFailed(
                f"{label}: {refusal.reason or 'nothing listens there'}",
                "check that the program on the VM runs and listens on this port",
            )
        return ForwardRefused(
            f"{where} refuses forwarded connections ({refusal.reason or 'refused'})",
            "set `AllowTcpForwarding yes` in the VM's sshd_config",
        )


def open_connection(
    wire: Wire,
    endpoint: Endpoint,
    trust: Trust,
    identities: Sequence[Identity],
    *,
    ask: Ask,
    timeout_s: float,
    early: Opening = SESSION,
) -> SshConnection:
    """Handshake, host key, authentication, and with it the first channel, `early`.
    Closes `wire` when it fails.

    The time in which `ask` waits for a person does not count. ConnectFailed,
    HostKeyUnknown, HostKeyChanged, AuthFailed.
    """
    transport = ClientTransport(wire)
    try:
        deadline = time.monotonic() + timeout_s
        key = transport.handshake(deadline)
        asked_at = time.monotonic()
        trust.check(HostKey(key.get_name(), str(key.fingerprint)), ask)
        deadline += time.monotonic() - asked_at
        channel = _authenticate(transport, endpoint, identities, deadline, early)
    except DevsyncError:
        transport.shut()
        raise
    except (paramiko.SSHException, OSError, EOFError) as error:
        transport.shut()
        raise _connect_error(error, endpoint, timeout_s) from error
    except BaseException:
        transport.shut()
        raise
    login = Login(
        endpoint.user,
        f"{key.get_name()} {key.get_base64()}",
        identities[0].configured_file,
    )
    return SshConnection(transport, endpoint, channel, login)


def _authenticate(
    transport: ClientTransport,
    endpoint: Endpoint,
    identities: Sequence[Identity],
    deadline: float,
    early: Opening,
) -> SshChannel | None:
    """The channel that came with the authentication, if there was one key."""
    names = ", ".join(identity.name for identity in identities)
    try:
        if len(identities) == 1:
            channel = transport.authenticate_and_open(
                endpoint.user, identities[0].key, deadline, early
            )
            if channel is not None:
                return channel
        else:
            for identity in identities:
                if transport.authenticate(endpoint.user, identity.key, deadline):
                    return None
    except (paramiko.AuthenticationException, EOFError, ConnectionError, LinkLost) as e:
        if transport.farewell:  # it has had enough of wrong keys
            raise _auth_failed(endpoint, f"{names}; {transport.farewell}") from e
        raise ConnectFailed(
            f"{endpoint.machine} hung up during authentication (tried {names})",
            "connect again; if it happens each time, look at the server's log",
        ) from e
    raise _auth_failed(endpoint, names)


def _auth_failed(endpoint: Endpoint, tried: str) -> AuthFailed:
    return AuthFailed(
        f"{endpoint.label} does not accept your key (tried {tried})",
        f"add your public key to ~/.ssh/authorized_keys of {endpoint.user} on the VM, "
        "or set `user` and `identity_file` in [link]",
    )


def _connect_error(
    error: Exception, endpoint: Endpoint, timeout_s: float
) -> ConnectFailed:
    where = endpoint.machine
    if isinstance(error, TimeoutError):
        return ConnectFailed(
            f"{where} took the connection but did not finish the SSH handshake "
            f"within {timeout_s:.0f} s",
            "check the tunnel and the VM, then connect again",
        )
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
        return ConnectFailed(
            f"no common SSH algorithms with {where}: {error}",
            "update the SSH server on the VM",
        )
    if "protocol banner" in str(error) or "protocol version" in str(error):
        return ConnectFailed(
            f"{where} answers, but not as an SSH server ({error})",
            "check `host` and `port` in [link]: the tunnel may be down, or lead to "
            "another program",
        )
    detail = "" if isinstance(error, EOFError) else f" ({error})"
    return ConnectFailed(
        f"{where} hung up during the SSH handshake{detail}",
        "check that the VM's SSH server runs; it may be busy or restarting",
    )
