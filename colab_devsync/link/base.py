"""The seam to SSH: what a way in to the VM must offer. No implementation here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..core.events import Ask


@dataclass(frozen=True)
class Login:
    """How we got in, for other SSH clients that shall get in the same way."""

    user: str
    host_key: str  # proven in this connection: "ssh-ed25519 AAAA…", as in known_hosts
    identity_file: str | None = None  # None: the agent's keys or the usual files


class Stream(Protocol):
    """A blocking, bidirectional byte stream. Reads and writes may be on two threads."""

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; b"" at the end. LinkLost when the connection died."""

    def read_parts(self, size: int) -> Sequence[bytes | memoryview]:
        """The same, as it came and without a copy; [] at the end."""

    def write(self, *parts: bytes | memoryview) -> None:
        """All of them; blocks while the window is full. LinkLost on a dead link."""

    def close_write(self) -> None:
        """No more will be written; reading goes on."""

    def is_open(self) -> bool:
        """Whether more may come: neither the other side has said that it ends, nor
        have we closed it, and the connection lives, as far as is known."""

    def wait_end(self) -> None:
        """Until either side has closed the whole stream, or the connection died."""

    def close(self) -> None:
        """Idempotent; wakes a blocked reader."""


class Flow(Protocol):
    """How much one stream may have on its way. Never blocks; any thread."""

    def on_read(self, size: int) -> int:
        """We took `size` bytes (0: it is being opened). How many the peer may have
        sent from now on that we have not taken."""

    def may_send(self) -> int:
        """How many bytes may be sent that the peer has not taken."""

    def on_taken(self, size: int) -> None:
        """The peer says that it took so many bytes."""

    def close(self) -> None:
        """Nothing will be on its way any more."""


class ExecStream(Stream, Protocol):
    """The stdin and stdout of a remote command."""

    def stderr_tail(self) -> bytes:
        """The last 32 KiB the command wrote to stderr so far."""

    def exit_status(self, timeout_s: float) -> int | None:
        """The exit status, or None if it has not ended in time."""


class Connection(Protocol):
    """One authenticated SSH connection. Thread-safe."""

    @property
    def login(self) -> Login | None:
        """None where it is not a real SSH connection."""

    def exec(self, command: str, flow: Flow | None = None) -> ExecStream:
        """Starts `command` under the user's login shell; one session channel."""

    def connect_tcp(self, host: str, port: int, flow: Flow | None = None) -> Stream:
        """A direct-tcpip channel. ForwardRefused if the server admits none."""

    def is_alive(self) -> bool: ...

    def close(self) -> None:
        """Closes the socket itself, so that nothing can block. Idempotent."""


class Link(Protocol):
    """A provider: one way in to one VM."""

    @property
    def label(self) -> str:
        """For people: "root@203.0.113.7:22"."""

    def connect(self, ask: Ask, timeout_s: float) -> Connection:
        """Blocks. ConnectFailed, AuthFailed, HostKeyUnknown, HostKeyChanged."""

    def place(self, path: str) -> str:
        """Where the absolute remote `path` really is (the sandbox has no /content)."""

    def close(self) -> None:
        """Ends what the provider started (a sandbox server, a tunnel)."""
