"""Starts the daemon when none runs, and waits until it answers.

Runs on the caller's thread. Two callers may start one each at the same instant: the
lock lets one of the two live, and both callers reach that one.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from ..errors import DevsyncError
from .address import PACKAGE, Address, is_checkout
from .dial import Hello, NotRunning, dial

EXIT_OTHER_DAEMON = 7
_TAIL = 2000

if sys.platform == "win32":
    _DETACHED = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
else:
    _DETACHED = 0


def connect_or_start(
    address: Address, *, profile: str | None = None, timeout_s: float = 20.0
) -> tuple[socket.socket, Hello]:
    """Like `dial`, but a daemon that does not run is started first."""
    try:
        return dial(address, profile=profile)
    except NotRunning:
        pass
    log_start = _size(address.crash_log)
    return connect_to(
        start(address), address, log_start, profile=profile, timeout_s=timeout_s
    )


def connect_to(
    process: subprocess.Popen[bytes],
    address: Address,
    log_start: int = 0,
    *,
    profile: str | None = None,
    timeout_s: float = 20.0,
) -> tuple[socket.socket, Hello]:
    """Waits until a daemon that is starting answers. `log_start`: where its words
    begin in the crash log."""
    deadline = time.monotonic() + timeout_s
    pause = 0.01
    while True:
        try:
            return dial(address, profile=profile)
        except NotRunning as exc:
            code = process.poll()
            if code not in (None, EXIT_OTHER_DAEMON):
                raise _died(address, code, log_start) from exc
            if time.monotonic() > deadline:
                raise _slow(address, timeout_s, log_start) from exc
        # There is no event to wait for across systems; a try costs 50 microseconds.
        time.sleep(pause)
        pause = min(pause * 1.3, 0.1)


def start(address: Address) -> subprocess.Popen[bytes]:
    """Starts the process, detached from terminal and editor."""
    command = [sys.executable, "-m", "colab_devsync.lsp"]
    # `python -m` puts the working folder first on sys.path: a project's own
    # `socket.py` must not be imported, so the daemon starts in a folder of ours.
    folder = address.lock.parent
    with _Log(address.crash_log) as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log.fileno(),
            stderr=log.fileno(),
            start_new_session=True,  # POSIX
            creationflags=_DETACHED,  # Windows
        )


def _environment() -> dict[str, str]:
    """Ours, with what depends on the working folder made absolute."""
    env = dict(os.environ)
    for name, value in env.items():
        if name.startswith("COLAB_DEVSYNC_") and name.endswith("_DIR"):
            env[name] = os.path.abspath(value)
    search = [p for p in env.get("PYTHONPATH", "").split(os.pathsep) if p]
    if is_checkout():
        # One that was found through the working folder must be found again. (Never
        # for an installation: site-packages must not come before the standard library.)
        search.append(str(PACKAGE.parent))
    if search:
        env["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, search))
    return env


class _Log:
    """The crash log, cut when it has grown: only the last start matters."""

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        if _size(path) > 256_000:
            flags |= os.O_TRUNC
        self._fd = os.open(path, flags, 0o600)

    def fileno(self) -> int:
        return self._fd

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _died(address: Address, code: int | None, log_start: int) -> DevsyncError:
    return DevsyncError(
        f"The daemon ended with code {code} while starting."
        + _quote(address.crash_log, log_start),
        f"See {address.log} and {address.crash_log}; `--in-process` works without it.",
    )


def _slow(address: Address, timeout_s: float, log_start: int) -> DevsyncError:
    return DevsyncError(
        f"The daemon did not answer within {timeout_s:.0f} s."
        + _quote(address.crash_log, log_start),
        f"See {address.log}; `--in-process` works without it.",
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _quote(path: Path, start: int) -> str:
    try:
        with path.open("rb") as log:
            log.seek(max(start, _size(path) - _TAIL) if _size(path) >= start else 0)
            text = log.read(_TAIL).decode(errors="replace").strip()
    except OSError:
        return ""
    return f" Its last words:\n{text}" if text else ""
