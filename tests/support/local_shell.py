"""A `Connection` without SSH: the agent runs in a shell on this machine.

For tests of the agent and its start on many interpreters, where SSH adds nothing.
"""

from __future__ import annotations

import socket
import subprocess
import threading

from colab_devsync.errors import LinkLost


class LocalStream:
    def __init__(self, command: str, shell: str) -> None:
        self.process = subprocess.Popen(
            [shell, "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self._tail = bytearray()
        self._reading = threading.Lock()
        self._drain = threading.Thread(
            target=self._read_stderr, name="devsync-test-stderr", daemon=True
        )
        self._drain.start()

    def _read_stderr(self) -> None:
        assert self.process.stderr
        for data in iter(lambda: self.process.stderr.read(4096), b""):
            self._tail += data

    def read(self, size: int) -> bytes:
        assert self.process.stdout
        try:
            with self._reading:
                return self.process.stdout.read(size) or b""
        except ValueError as exc:
            raise LinkLost("the shell was closed") from exc

    def write(self, *parts: bytes | memoryview) -> None:
        assert self.process.stdin
        view = memoryview(b"".join(parts))
        try:
            while view:
                view = view[self.process.stdin.write(view) :]
        except (BrokenPipeError, ValueError) as exc:
            raise LinkLost("the shell has ended") from exc

    def close(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        if self.process.poll() is None:
            try:
                self.process.wait(2)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def dispose(self) -> None:
        """After close(): gives the pipes back, to nobody who still reads them."""
        self._drain.join(60)
        assert self.process.stdout
        assert self.process.stderr
        with self._reading:
            self.process.stdout.close()
        self.process.stderr.close()

    def stderr_tail(self) -> bytes:
        self._drain.join(1)
        return bytes(self._tail[-32768:])

    def exit_status(self, timeout_s: float) -> int | None:
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None


class TcpStream:
    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port))

    def read(self, size: int) -> bytes:
        return self._socket.recv(size)

    def write(self, *parts: bytes | memoryview) -> None:
        self._socket.sendall(b"".join(parts))

    def close(self) -> None:
        self._socket.close()


class LocalShell:
    """What an SSH connection offers, from a shell of this machine."""

    def __init__(self, shell: str = "/bin/sh") -> None:
        self._shell = shell
        self._streams: list[LocalStream | TcpStream] = []

    def exec(self, command: str) -> LocalStream:
        stream = LocalStream(command, self._shell)
        self._streams.append(stream)
        return stream

    def connect_tcp(self, host: str, port: int) -> TcpStream:
        stream = TcpStream(host, port)
        self._streams.append(stream)
        return stream

    def is_alive(self) -> bool:
        return True

    def close(self) -> None:
        for stream in self._streams:
            stream.close()
