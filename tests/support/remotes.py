"""The two far sides that integration tests run against, behind one interface.

`Sandbox` is the product's own server process, `RealSshd` is OpenSSH. Both are reached
as provider `direct`, so that a chaos proxy can stand in between.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colab_devsync.core.config import LinkConfig
from colab_devsync.core.events import Question
from colab_devsync.link.base import Connection, Link
from colab_devsync.link.providers import open_link
from colab_devsync.link.sandbox.link import SandboxSpec, ServerProcess

from .sshd import Sshd

CONNECT_S = 30.0


@dataclass(frozen=True)
class Login:
    """How to get in."""

    port: int
    user: str
    identity_file: Path
    fingerprint: str
    host: str = "127.0.0.1"


def never(question: Question) -> str:
    """An `ask` for tests in which nothing may be asked."""
    raise AssertionError(f"asked: {question.text}")


class Remote:
    """One far side for one test. `root` is an empty folder on its "VM"."""

    def __init__(self, kind: str, login: Login, root: Path, state: Path) -> None:
        self.kind = kind
        self.login = login
        self.root = root
        self.state = state
        self._open = ExitStack()

    def config(self, port: int | None = None, **changes: Any) -> LinkConfig:
        """`[link]` for provider direct, host key pinned; `port` is that of a proxy."""
        fields: dict[str, Any] = {
            "provider": "direct",
            "host": self.login.host,
            "port": port or self.login.port,
            "user": self.login.user,
            "identity_file": str(self.login.identity_file),
            "host_key": self.login.fingerprint,
        }
        return LinkConfig(**{**fields, **changes})

    def link(self, port: int | None = None, **changes: Any) -> Link:
        config = self.config(port, **changes)
        link = open_link(
            config,
            profile=None,
            state_dir=self.state,
            cache_dir=self.state / "cache",
            name="test",
        )
        self._open.callback(link.close)
        return link

    def connect(
        self,
        port: int | None = None,
        *,
        ask: Callable[[Question], str] = never,
        timeout_s: float = CONNECT_S,
        **changes: Any,
    ) -> Connection:
        """Closed when the test ends."""
        connection = self.link(port, **changes).connect(ask, timeout_s)
        self._open.callback(connection.close)
        return connection

    def close(self) -> None:
        self._open.close()


class RemoteServer:
    """A server for a whole test run, sandbox or sshd."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        folder.mkdir(parents=True, exist_ok=True)
        self._stack = ExitStack()
        if kind == "sandbox":
            process = ServerProcess(SandboxSpec(folder))
            self._stack.callback(process.stop)
            fingerprint = process.host_key.fingerprint
            self.login = Login(process.port, "root", process.client_key, fingerprint)
        else:
            sshd = self._stack.enter_context(Sshd(folder))
            self.login = Login(
                sshd.port, sshd.user, sshd.identity_file, sshd.fingerprint
            )

    def close(self) -> None:
        self._stack.close()
