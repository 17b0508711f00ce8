"""The SSH server of the sandbox: key-only; programs, terminals, sftp, and direct-tcpip
to loopback.

Threads: `devsync-sandbox-accept`, per connection `devsync-ssh` (paramiko's) and
`devsync-sandbox-connection`, per channel its pumps. Windows are those of OpenSSH
(2 MiB, packets of 32 KiB), so that what is fast here is fast there.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from dataclasses import dataclass, field
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
    MSG_CHANNEL_REQUEST,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_FAILED_CONNECT_FAILED,
    OPEN_FAILED_UNKNOWN_CHANNEL_TYPE,
    OPEN_SUCCEEDED,
)
from paramiko.message import Message

from ..packets import QuickPacketizer
from ..transport import RobustTransport
from ..wire import SocketWire
from .program import Launch, Program
from .pumps import spawn, splice
from .sftp import start_sftp
from .terminal import Terminal

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
            sock, client = self._listener.accept()
            session = _Session(self._vm, self._client_key, _connection(client, sock))
            self._sessions.add(session)
            spawn("connection", self._serve, sock, session)

    def _serve(self, sock: socket.socket, session: _Session) -> None:
        transport = _ServerTransport(
            SocketWire(sock), QuickPacketizer, window=_WINDOW, max_packet=_PACKET
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


def _connection(client: tuple[str, int], sock: socket.socket) -> str:
    """SSH_CONNECTION, as sshd words it: from where, and where it was taken. The client
    may have gone again, so `sock` is not asked for it."""
    server = sock.getsockname()
    return f"{client[0]} {client[1]} {server[0]} {server[1]}"


def _on_request(channel: paramiko.Channel, m: Message) -> None:
    """paramiko's, and `signal`, which it does not know."""
    session = channel.get_transport().server_object
    assert isinstance(session, _Session)
    start = m.packet.tell()
    if m.get_text() == "signal":
        m.get_boolean()  # wants no reply
        session.signal(channel, m.get_text())
        return
    m.packet.seek(start)
    channel._handle_request(m)  # type: ignore[attr-defined]
    session.begin_programs()


class _ServerTransport(RobustTransport):
    _channel_handler_table = {  # noqa: RUF012 - overrides paramiko's
        **paramiko.Transport._channel_handler_table,  # type: ignore[attr-defined]
        MSG_CHANNEL_REQUEST: _on_request,
    }


@dataclass
class _Wishes:
    """What a client asked for before it starts a program."""

    env: dict[str, str] = field(default_factory=dict)
    terminal: Terminal | None = None


class _Session(paramiko.ServerInterface):
    """One client. The `check_*` methods run on the transport's thread."""

    def __init__(self, vm: Path, client_key: paramiko.PKey, connection: str) -> None:
        self._vm = vm
        self._client_key = client_key
        self._connection = connection
        self._dialled: dict[int, socket.socket] = {}
        self._programs: set[Program] = set()
        self._fresh: list[Program] = []  # started, but the client was not told yet
        self._wishes: dict[int, _Wishes] = {}
        self._started: set[int] = set()  # channels whose `exec` was faster than we
        self._waiting: dict[int, paramiko.Channel] = {}  # strong: paramiko's is weak

    def begin(self, channel: paramiko.Channel) -> None:
        """An opened channel: a forward runs at once, a session waits for `exec`."""
        sock = self._dialled.pop(channel.get_id(), None)
        if sock is not None:
            splice(channel, sock)
        elif channel.get_id() not in self._started:
            self._waiting[channel.get_id()] = channel

    def begin_programs(self) -> None:
        """The answer has gone out: a program's end must not overtake it."""
        fresh, self._fresh = self._fresh, []
        for program in fresh:
            program.begin()

    def end_programs(self) -> None:
        for program in list(self._programs):
            program.hang_up()
        for sock in self._dialled.values():
            sock.close()
        for wishes in list(self._wishes.values()):
            if wishes.terminal is not None:
                wishes.terminal.close()

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
        return self._start(channel, command)

    def check_channel_shell_request(self, channel: paramiko.Channel) -> bool:
        return self._start(channel, None)

    def check_channel_subsystem_request(
        self, channel: paramiko.Channel, name: str
    ) -> bool:
        if name != "sftp":
            return False
        self._take(channel)
        start_sftp(channel, self, self._vm)
        return True

    def check_channel_pty_request(
        self,
        channel: paramiko.Channel,
        term: bytes,
        width: int,
        height: int,
        *pixels_and_modes: object,
    ) -> bool:
        wishes = self._wishes_of(channel)
        if wishes.terminal is not None:
            return False
        try:
            wishes.terminal = Terminal(width, height)
        except OSError:
            return False  # there are no more of them
        wishes.env["TERM"] = os.fsdecode(term) or "dumb"
        wishes.env["SSH_TTY"] = wishes.terminal.name
        return True

    def check_channel_window_change_request(
        self,
        channel: paramiko.Channel,
        width: int,
        height: int,
        pixelwidth: int,
        pixelheight: int,
    ) -> bool:
        for program in list(self._programs):
            if program.channel is channel and program.terminal is not None:
                program.terminal.resize(width, height)
                return True
        return False

    def check_channel_env_request(
        self, channel: paramiko.Channel, name: bytes, value: bytes
    ) -> bool:
        """The language, as sshd's usual AcceptEnv; nothing that changes what runs."""
        if name != b"LANG" and not name.startswith(b"LC_"):
            return False
        self._wishes_of(channel).env[os.fsdecode(name)] = os.fsdecode(value)
        return True

    def signal(self, channel: paramiko.Channel, name: str) -> None:
        """The client's `signal` request; a name we do not know means nothing."""
        number = getattr(signal, f"SIG{name}", None)
        for program in list(self._programs):
            if program.channel is channel and isinstance(number, signal.Signals):
                program.signal(number)

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

    def _start(self, channel: paramiko.Channel, command: bytes | None) -> bool:
        wishes = self._wishes_of(channel)
        self._take(channel)
        client, port, _, own_port = self._connection.split()
        env = {
            **wishes.env,
            "SSH_CONNECTION": self._connection,
            "SSH_CLIENT": f"{client} {port} {own_port}",
        }
        launch = Launch(self._vm, env, command, wishes.terminal)
        program = Program(channel, launch, on_end=self._ended)
        if not program.start():
            return False
        self._programs.add(program)
        self._fresh.append(program)
        return True

    def _wishes_of(self, channel: paramiko.Channel) -> _Wishes:
        return self._wishes.setdefault(channel.get_id(), _Wishes())

    def _take(self, channel: paramiko.Channel) -> None:
        """The channel has its purpose now, and whoever serves it holds it."""
        self._started.add(channel.get_id())
        self._waiting.pop(channel.get_id(), None)
        self._wishes.pop(channel.get_id(), None)

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
