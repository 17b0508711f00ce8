"""A program's standard streams, as three pipes; a terminal offers the same."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence
from typing import Protocol

import paramiko

from .pumps import from_pipe, spawn, to_pipe


class Streams(Protocol):
    """Between one program and its channel."""

    def start_outputs(self, channel: paramiko.Channel) -> Sequence[threading.Thread]:
        """Threads that end when the program has said all."""

    def feed(self, channel: paramiko.Channel) -> None:
        """Channel → stdin, until the client has said all or has gone."""

    def finish(self) -> None:
        """The program has ended; it may have left others behind."""

    def close(self) -> None:
        """All is said."""


class Pipes:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def start_outputs(self, channel: paramiko.Channel) -> Sequence[threading.Thread]:
        process = self._process
        return (
            spawn("stdout", from_pipe, process.stdout, channel.sendall),
            spawn("stderr", from_pipe, process.stderr, channel.sendall_stderr),
        )

    def feed(self, channel: paramiko.Channel) -> None:
        assert self._process.stdin is not None
        to_pipe(channel, self._process.stdin)

    def finish(self) -> None:
        """As with sshd, who holds the pipes open may go on writing."""

    def close(self) -> None:
        """Each pump closes its own end."""
