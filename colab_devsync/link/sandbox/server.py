"""The SSH server of the sandbox: key-only, exec, direct-tcpip to loopback.

Threads: `devsync-sandbox-accept`, per connection `devsync-ssh` (paramiko's) and
`devsync-sandbox-connection`, per channel its pumps. Windows are those of OpenSSH
(2 MiB, packets of 32 KiB), so that what is fast here is fast there.
"""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import paramiko
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_FAILED_CONNECT_FAILED,
    OPEN_FAILED_UNKNOWN_CHANNEL_TYPE,
    OPEN_SUCCEEDED,
)

from ..transport import RobustTransport, TunedPacketizer
from ..wire import SocketWire
from .program import Program
from .pumps import spawn, splice

_WINDOW = 2**21
_PACKET = 2**15
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_DIAL_S = 2.0
_LOOK_S = 1.0  # paramiko may lose the wake-up of a connection that ends


class SandboxServer:
    """Accepts connections until `stop`."""

    def __init__(
        self,
        listener: socket.socket,
        vm: Path,
        host_key: paramiko.PKey,
        client_key: paramiko.PKey,
    ) -> None:
        self._listener = listener
        self._vm = vm
        self._host_key = host_key
        self._client_key = client_key
        self._sessions: set[_Session] = set()

    def start(self) -> None:
        spawn("accept", self._accept)

    def stop(self) -> None:
        """Ends connections and programs; programs in sessions of their own live on."""
        for session in list(self._sessions):
            session.end_programs()

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            session = _Session(self._vm, self._client_key)
            self._sessions.add(session)
            spawn("connection", self._serve, sock, session)

    def _serve(self, sock: socket.socket, session: _Session) -> None:
        transport = RobustTransport(
            SocketWire(sock), TunedPacketizer, window=_WINDOW, max_packet=_PACKET
        )
        transport.add_server_key(self._host_key)
        done = threading.Event()
        transport.start_server(done, session)
        try:
            while transport.is_active():
                channel = transport.accept(_LOOK_S)
                if channel is not None:
                    session.begin(channel)
        finally:
            self._sessions.discard(session)
            session.end_programs()


class _Session(paramiko.ServerInterface):
    """One client. The `check_*` methods run on the transport's thread."""

    def __init__(self, vm: Path, client_key: paramiko.PKey) -> None:
        self._vm = vm
        self._client_key = client_key
        self._dialled: dict[int, socket.socket] = {}
        self._programs: set[Program] = set()
        self._started: set[int] = set()  # channels whose `exec` was faster than we
        self._waiting: dict[int, paramiko.Channel] = {}  # strong: paramiko's is weak

    def begin(self, channel: paramiko.Channel) -> None:
        """An opened channel: a forward runs at once, a session waits for `exec`."""
        sock = self._dialled.pop(channel.get_id(), None)
        if sock is not None:
            splice(channel, sock)
        elif channel.get_id() not in self._started:
            self._waiting[channel.get_id()] = channel

    def end_programs(self) -> None:
        for program in list(self._programs):
            program.hang_up()
        for sock in self._dialled.values():
            sock.close()

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        known = key.asbytes() == self._client_key.asbytes()
        return AUTH_SUCCESSFUL if known else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        if kind == "session":
            return OPEN_SUCCEEDED
        return OPEN_FAILED_UNKNOWN_CHANNEL_TYPE

    def check_channel_exec_request(
        self, channel: paramiko.Channel, command: bytes
    ) -> bool:
        program = Program(channel, command, self._vm, on_end=self._ended)
        self._programs.add(program)
        self._started.add(channel.get_id())
        self._waiting.pop(channel.get_id(), None)
        return program.start()

    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        if destination[0] not in _LOOPBACK:
            return OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        try:
            sock = socket.create_connection(destination, _DIAL_S)
        except OSError:
            return OPEN_FAILED_CONNECT_FAILED
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._dialled[chanid] = sock
        return OPEN_SUCCEEDED

    def _ended(self, program: Program) -> None:
        self._programs.discard(program)


def ensure_key(path: Path) -> paramiko.PKey:
    """The Ed25519 key at `path`, made on first use, readable by its owner only."""
    if not path.exists():
        text = Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
        )
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(text)
        os.replace(temporary, path)
    return paramiko.PKey.from_path(path)
