"""One project and its VM: everything a front end may ask for.

Any thread may call; the work happens on the session's engine thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..core.events import Ask, Conflict, Emit, OnProgress, Status, SyncResult


@dataclass(frozen=True)
class ExecSpec:
    """A command for the VM. `cwd` is relative to the remote project folder."""

    argv: Sequence[str]
    cwd: str = "."
    env: Mapping[str, str] | None = None


class RemoteProcess:
    """A running `exec`. `on_output(stream, data)` was given at start and is called on
    the process's own thread; it may block, which holds the program back."""

    def write_stdin(self, data: bytes) -> None: ...
    def close_stdin(self) -> None: ...
    def signal(self, name: str) -> None: ...

    exit_code: Future[int]
    """128 + signal number if killed. Fails with LinkLost."""


class Session:
    def __init__(
        self, root: Path, *, profile: str | None, emit: Emit, ask: Ask
    ) -> None:
        """Reads nothing yet. `emit` is called on engine threads and must not block."""

    def connect(self, endpoint: str | None = None) -> Future[Status]:
        """Goes online and starts mirroring; returns once the link is up (not synced).
        Idempotent. ConfigError, LinkError, AgentError."""

    def disconnect(self) -> Future[Status]: ...

    def status(self) -> Status:
        """At once, from any thread."""

    def saved(self, path: Path) -> None:
        """A hint: an editor wrote this file. Never blocks, never fails."""

    def config_changed(self) -> None:
        """`.colabremote.toml` was saved; reread it, reconnect if the link differs."""

    def sync(
        self,
        *,
        check: bool = False,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
    ) -> Future[SyncResult]:
        """Connects if needed, walks, sends, waits for all acknowledgements.
        UnsafePlan when the question was not answered with yes."""

    def conflicts(self) -> tuple[Conflict, ...]: ...

    def resolve(self, path: str, keep: Literal["local", "remote"]) -> Future[Conflict]:
        """SyncError if there is no such conflict or the file changed meanwhile."""

    def exec(
        self, spec: ExecSpec, on_output: Callable[[str, bytes], None]
    ) -> Future[RemoteProcess]:
        """Connects if needed. RunError, LinkError, AgentError."""

    def close(self) -> None:
        """Ends threads and the connection within a second, network dead or not."""
