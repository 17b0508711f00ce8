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
from .channel import Refusal, SshChannel
from .hostkeys import HostKey, Trust
from .keys import Identity
from .transport import ClientTransport
from .wire import Wire

_PROHIBITED, _UNREACHABLE = 1, 2  # RFC 4254, section 5.1


@dataclass(frozen=True)
class Endpoint:
    """Who logs in where. `host` and `port` name the machine for people and pins;
    the bytes may travel another way."""

    user: str
    host: str
    port: int

    @property
    def machine(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def label(self) -> str:
        return f"{self.user}@{self.machine}"


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
        self._early = early  # a session channel that is already being opened

    def exec(self, command: str, flow: Flow | None = None) -> SshChannel:
        """Starts `command` and does not wait for the answer: a refusal shows when
        reading. The first call costs no round trip, later ones one. LinkLost, and
        LinkError when the server admits no more sessions."""
        channel = None
        if flow is None:
            early, self._early = self._early, None
            channel = None if early is None else _usable(early)
        if channel is None:
            channel = self._open("session", "a session on the VM", flow=flow)
        channel.label = "the command on the VM"
        text = command.encode("utf-8", "surrogateescape")
        channel.request(b"exec", struct.pack(">I", len(text)) + text)
        return channel

    def connect_tcp(self, host: str, port: int, flow: Flow | None = None) -> SshChannel:
        """One round trip. ForwardRefused if the server admits no forwards at all,
        ConnectFailed if nothing answers at `host`:`port` there. LinkLost."""
        name = host.encode()
        origin = b"127.0.0.1"
        payload = (
            struct.pack(">I", len(name))
            + name
            + struct.pack(">II", port, len(origin))
            + origin
            + struct.pack(">I", 0)
        )
        label = f"{host}:{port} on the VM"
        return self._open("direct-tcpip", label, payload, flow)

    def is_alive(self) -> bool:
        """False as soon as the loss is known; a silent network is not noticed."""
        return self._transport.is_active()

    def close(self) -> None:
        self._transport.shut()

    def _open(
        self, kind: str, label: str, payload: bytes = b"", flow: Flow | None = None
    ) -> SshChannel:
        channel = self._transport.open(kind, label, payload, flow)
        try:
            channel.wait_open()
        except Refusal as refusal:
            raise self._refused(kind, label, refusal) from refusal
        return channel

    def _refused(self, kind: str, label: str, refusal: Refusal) -> LinkError:
        where = self._endpoint.label
        if kind == "session":
            return LinkError(
                f"{where} admits no more sessions ({refusal.reason or 'open failed'})",
                "close other terminals on this connection, or raise MaxSessions in "
                "the VM's sshd_config",
            )
        if refusal.code == _UNREACHABLE:
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
) -> SshConnection:
    """Handshake, host key, authentication. Closes `wire` when it fails.

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
        early = _authenticate(transport, endpoint, identities, deadline)
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
    return SshConnection(transport, endpoint, early, login)


def _authenticate(
    transport: ClientTransport,
    endpoint: Endpoint,
    identities: Sequence[Identity],
    deadline: float,
) -> SshChannel | None:
    """A session channel that came with the authentication, if there was one key."""
    names = ", ".join(identity.name for identity in identities)
    try:
        if len(identities) == 1:
            early = transport.authenticate_and_open(
                endpoint.user, identities[0].key, deadline
            )
            if early is not None:
                return early
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


def _usable(channel: SshChannel) -> SshChannel | None:
    try:
        channel.wait_open()
    except Refusal:
        return None
    return channel
