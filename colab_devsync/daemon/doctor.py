"""Walks the way to the VM step by step and says what to do where it breaks.

Runs on a thread of its own, because it waits for the network. Reads the configuration
itself, so that it can say something where a session can't even start.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..core.config import CONFIG_NAME, Config, load_config
from ..errors import AgentError, ConfigError, ConnectFailed, DevsyncError
from .address import log_dir, runtime_dir

if TYPE_CHECKING:
    from ..core.events import Status
    from ..engine.session import Session

_CONNECT_TIMEOUT_S = 60.0
_TCP_TIMEOUT_S = 10.0

_STEPS_OF_ERROR = {
    "ConnectFailed": "reach",
    "HostKeyUnknown": "host key",
    "HostKeyChanged": "host key",
    "AuthFailed": "login",
}


@dataclass(frozen=True)
class Check:
    """One step. `ok` None = not reached, or only worth knowing."""

    name: str
    ok: bool | None
    message: str
    hint: str = ""


def examine(
    folder: str,
    session: Session | None,
    say: Callable[[str], None],
    *,
    profile: str | None = None,
) -> list[Check]:
    """All steps, in order; after the first broken one only what still makes sense."""
    found: list[Check] = []
    for check in _steps(Path(folder), session, profile):
        say(check.name)
        found.append(check)
    return found


def _steps(root: Path, session: Session | None, profile: str | None) -> Iterator[Check]:
    yield _installation()
    yield _folders()
    config, check = _configuration(root, profile)
    yield check
    if config is None or session is None:
        return
    identity = config.link.identity_file
    if identity is not None:
        yield _identity(root, identity)
    if config.link.provider == "direct" and config.link.host is not None:
        yield _tcp(config.link.host, config.link.port)
    yield from _connection(session)


def _installation() -> Check:
    system = f"{platform.system()} {platform.machine()}"
    text = f"colab-devsync {__version__}, Python {platform.python_version()}, {system}"
    return Check("installation", True, f"{text} ({sys.executable})")


def _folders() -> Check:
    try:
        runtime, log = runtime_dir(), log_dir()
    except DevsyncError as error:
        return _failed("folders", error)
    return Check("folders", True, f"sockets in {runtime}, logs in {log}")


def _configuration(root: Path, profile: str | None) -> tuple[Config | None, Check]:
    path = root / CONFIG_NAME
    try:
        text = path.read_text(encoding="utf-8")
        config = load_config(
            text, folder_name=root.name, profile=profile, source=str(path)
        )
    except DevsyncError as error:
        return None, _failed("configuration", error)
    except (OSError, UnicodeDecodeError) as exc:
        missing = ConfigError(
            f"Cannot read {path}: {exc}.",
            "Run `colab-devsync init` in your project folder.",
        )
        return None, _failed("configuration", missing)
    what = f"{path}: provider {config.link.provider}, {config.remote.root} on the VM"
    return config, Check("configuration", True, what)


def _identity(root: Path, name: str) -> Check:
    path = root / os.path.expanduser(name)
    if not path.is_file():
        return Check(
            "key",
            False,
            f"link.identity_file names {path}, which does not exist.",
            f"Correct it, or make a key: `ssh-keygen -t ed25519 -f {path}`.",
        )
    if sys.platform != "win32" and path.stat().st_mode & 0o077:
        return Check(
            "key",
            False,
            f"{path} can be read by others, so SSH programs refuse it.",
            f"`chmod 600 {path}`",
        )
    return Check("key", True, f"{path}")


def _tcp(host: str, port: int) -> Check:
    try:
        socket.create_connection((host, port), _TCP_TIMEOUT_S).close()
    except OSError as exc:
        return Check(
            "reach",
            False,
            f"{host}:{port} does not accept connections: {exc.strerror or exc}.",
            "Is the VM running, and are [link] host and port those it shows now?",
        )
    return Check("reach", True, f"{host}:{port} accepts connections")


def _connection(session: Session) -> Iterator[Check]:
    try:
        status = session.connect().result(_CONNECT_TIMEOUT_S)
    except DevsyncError as error:
        yield _failed(_step(error), error)
        return
    except (TimeoutError, FutureTimeout):
        slow = ConnectFailed(
            f"The VM did not let us in within {_CONNECT_TIMEOUT_S:.0f} s.",
            "The daemon's log says how far it came.",
        )
        yield _failed("login", slow)
        return
    yield Check("login", True, f"logged in to {status.target}")
    yield from _machine(status)
    for problem in status.problems:
        ok = False if problem.severity == "error" else None
        yield Check("mirror", ok, f"{problem.path}: {problem.message}", problem.hint)


def _machine(status: Status) -> Iterator[Check]:
    vm = status.vm
    if vm is None:
        return
    yield Check("agent", True, f"Python {vm.python}, project folder {vm.root}")
    yield Check("gpu", None if vm.gpu is None else True, vm.gpu or "no GPU seen")
    if vm.disk_free is not None:
        free = vm.disk_free / 1e9
        yield Check(
            "disk",
            free > 1,
            f"{free:.1f} GB free on the VM",
            "" if free > 1 else "Delete old checkpoints and caches there.",
        )
    if vm.transfer:
        slow = vm.transfer.startswith("exec")
        yield Check(
            "transfer",
            None if slow else True,
            f"bulk data travels by {vm.transfer}",
            "`AllowTcpForwarding yes` in the VM's sshd_config makes it faster."
            if slow
            else "",
        )
    yield Check("ssh", None, f"ssh on this machine: {shutil.which('ssh') or 'none'}")


def _step(error: DevsyncError) -> str:
    if isinstance(error, AgentError):
        return "agent"
    return _STEPS_OF_ERROR.get(error.code, "connection")


def _failed(name: str, error: DevsyncError) -> Check:
    return Check(name, False, error.message, error.hint)
