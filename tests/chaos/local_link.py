"""A way to an agent on this machine, without SSH, that can be hurt on command.

What a tunnel does to a session: it drops with requests still in the pipe (the old
agent lives on and may apply them), it swallows answers, its agent is killed.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import threading
from pathlib import Path

from colab_devsync.core.config import LinkConfig
from colab_devsync.core.events import Ask
from colab_devsync.errors import ConnectFailed, LinkLost
from tests.support.local_shell import TcpStream


class _Cut:
    """Tells the streams of one connection that it is over, and wakes them."""

    def __init__(self) -> None:
        self.read_end, self._write_end = os.pipe()
        self.is_over = False

    def now(self) -> None:
        if not self.is_over:
            self.is_over = True
            os.write(self._write_end, b"x")

    def close(self) -> None:
        os.close(self.read_end)
        os.close(self._write_end)


class _Pipe:
    """stdin and stdout of the agent; stays open when the connection is cut."""

    def __init__(self, command: str, cut: _Cut) -> None:
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        assert self.process.stdin
        assert self.process.stdout
        self._source, self._sink = self.process.stdout, self.process.stdin
        self._cut = cut
        self.is_muted = False
        self.swallowed = threading.Event()

    def read(self, size: int) -> bytes:
        while True:
            ready, _, _ = select.select([self._source, self._cut.read_end], [], [])
            if self._cut.is_over:
                raise LinkLost("the tunnel dropped")
            data = (
                os.read(self._source.fileno(), size) if self._source in ready else b""
            )
            if not data or not self.is_muted:
                return data
            self.swallowed.set()

    def read_parts(self, size: int) -> list[bytes]:
        return list(filter(None, [self.read(size)]))

    def write(self, *parts: bytes | memoryview) -> None:
        if self._cut.is_over:
            raise LinkLost("the tunnel dropped")
        view = memoryview(b"".join(parts))
        try:
            while view:
                view = view[self._sink.write(view) :]
        except (BrokenPipeError, ValueError) as exc:
            raise LinkLost("the agent has ended") from exc

    def close_write(self) -> None:
        self._sink.close()

    def close(self) -> None:
        self._cut.now()

    def stderr_tail(self) -> bytes:
        return b""

    def exit_status(self, timeout_s: float) -> int | None:
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> None:
        """When the test is over: the agent goes, whatever it does."""
        self.process.kill()
        self.process.wait()
        self._sink.close()
        self._source.close()


class _Forward(TcpStream):
    def __init__(self, host: str, port: int, cut: _Cut) -> None:
        super().__init__(host, port)
        self._cut = cut

    def read(self, size: int) -> bytes:
        try:
            return super().read(size)
        except OSError as exc:
            raise LinkLost("the tunnel dropped") from exc

    def read_parts(self, size: int) -> list[bytes]:
        return list(filter(None, [self.read(size)]))

    def write(self, *parts: bytes | memoryview) -> None:
        if self._cut.is_over:
            raise LinkLost("the tunnel dropped")
        try:
            super().write(*parts)
        except OSError as exc:
            raise LinkLost("the tunnel dropped") from exc

    def close_write(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def is_open(self) -> bool:
        if self._cut.is_over or self._socket.fileno() < 0:
            return False
        look = socket.MSG_PEEK | socket.MSG_DONTWAIT
        try:
            return bool(self._socket.recv(1, look))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def close(self) -> None:
        with contextlib.suppress(OSError):  # closed already, or by the other end
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class LocalConnection:
    login = None  # no SSH

    def __init__(self) -> None:
        self._cut = _Cut()
        self._pipes: list[_Pipe] = []
        self._forwards: list[_Forward] = []

    def exec(self, command: str) -> _Pipe:
        self._pipes.append(_Pipe(command, self._cut))
        return self._pipes[-1]

    def connect_tcp(self, host: str, port: int) -> _Forward:
        if self._cut.is_over:
            raise LinkLost("the tunnel dropped")
        try:
            self._forwards.append(_Forward(host, port, self._cut))
        except OSError as exc:
            raise LinkLost("the agent has ended") from exc
        return self._forwards[-1]

    def is_alive(self) -> bool:
        return not self._cut.is_over

    def close(self) -> None:
        self._cut.now()
        for stream in self._forwards:
            stream.close()

    # --- harm ---------------------------------------------------------------------

    @property
    def has_agent(self) -> bool:
        return bool(self._pipes)

    def mute(self) -> threading.Event:
        """From now on answers are lost; the event tells that one was."""
        pipe = self._pipes[0]
        pipe.swallowed.clear()
        pipe.is_muted = True
        return pipe.swallowed

    def kill_agent(self) -> None:
        for pipe in self._pipes:
            pipe.process.kill()

    def end(self) -> None:
        self.close()
        for pipe in self._pipes:
            pipe.end()
        self._cut.close()


class LocalLink:
    """Implements `Link`; `open` is an `OpenLink` that always gives this one."""

    label = "this machine"

    def __init__(self) -> None:
        self.connections: list[LocalConnection] = []
        self.is_down = False

    def open(
        self,
        link: LinkConfig,
        *,
        profile: str | None,
        state_dir: Path,
        cache_dir: Path,
        name: str,
    ) -> LocalLink:
        return self

    def connect(self, ask: Ask, timeout_s: float) -> LocalConnection:
        if self.is_down:
            raise ConnectFailed("there is no network")
        self.connections.append(LocalConnection())
        return self.connections[-1]

    def place(self, path: str) -> str:
        return path

    def close(self) -> None:
        """Each connection ends with its uplink."""

    @property
    def newest(self) -> LocalConnection:
        return self.connections[-1]

    def end(self) -> None:
        for connection in self.connections:
            connection.end()
