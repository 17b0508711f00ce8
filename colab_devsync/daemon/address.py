"""Where the daemon is found: runtime folder, socket, lock, secret and log.

Imported by the pump, so it stays light: no asyncio, no click, and platformdirs only
when no folder is given by the environment. Touches the disk, opens no socket.
`COLAB_DEVSYNC_RUNTIME_DIR` moves everything (tests, containers);
`COLAB_DEVSYNC_TRANSPORT=tcp` uses what Windows uses, on any system.
"""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .. import __version__
from ..errors import DevsyncError

APP = "colab-devsync"
PACKAGE = Path(__file__).resolve().parent.parent

_MAX_SOCKET_PATH = 100
"""sun_path holds 104 bytes on macOS and 108 on Linux, with the closing zero."""


@dataclass(frozen=True)
class Address:
    """The files of one daemon. `socket` is a Unix socket, or for `tcp` a file that
    only the user can read with the port and the secret."""

    kind: Literal["unix", "tcp"]
    socket: Path
    lock: Path
    log: Path

    @property
    def crash_log(self) -> Path:
        """What the process writes before, or instead of, its own log."""
        return self.log.with_name(self.log.stem + "-stderr.log")


def current_address() -> Address:
    """The address for this user and this version.

    The version is in the name so that an upgrade never talks to an old daemon. Two
    installations of one release (an editor's and pipx's) share a daemon; a source
    checkout has its own, because its code differs under the same version.
    """
    runtime = runtime_dir()
    checkout = f"-{_digest(str(PACKAGE))}" if is_checkout() else ""
    name = f"daemon-{__version__}{checkout}"
    tcp = sys.platform == "win32" or os.environ.get("COLAB_DEVSYNC_TRANSPORT") == "tcp"
    socket = runtime / (name + ".port") if tcp else _socket_path(runtime, name)
    return Address(
        kind="tcp" if tcp else "unix",
        socket=socket,
        lock=runtime / (name + ".lock"),
        log=log_dir() / (name + ".log"),
    )


def runtime_dir() -> Path:
    """The user's private folder for sockets and locks, created when missing."""
    given = os.environ.get("COLAB_DEVSYNC_RUNTIME_DIR")
    if given:
        return private_dir(Path(os.path.abspath(given)))
    import warnings

    from platformdirs import user_runtime_path

    with warnings.catch_warnings():
        # Without XDG_RUNTIME_DIR (root, containers) it warns and takes a folder that
        # `private_dir` checks all the same.
        warnings.simplefilter("ignore")
        return private_dir(user_runtime_path(APP, appauthor=False))


def log_dir() -> Path:
    given = os.environ.get("COLAB_DEVSYNC_LOG_DIR")
    runtime = os.environ.get("COLAB_DEVSYNC_RUNTIME_DIR")
    if given:
        return private_dir(Path(os.path.abspath(given)))
    if runtime:
        return private_dir(Path(os.path.abspath(runtime)) / "log")
    from platformdirs import user_log_path

    return private_dir(user_log_path(APP, appauthor=False))


def private_dir(path: Path) -> Path:
    """Creates `path` for this user alone, or checks that it is so."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(path)
    except OSError as exc:
        raise DevsyncError(
            f"Cannot use the folder {path}: {exc.strerror or exc}.",
            "Make it writable, or set COLAB_DEVSYNC_RUNTIME_DIR to another folder.",
        ) from exc
    return path


if sys.platform == "win32":  # the folder inherits the ACL of the user's profile

    def _check_owner(path: Path) -> None:
        pass

    def _socket_path(runtime: Path, name: str) -> Path:
        return runtime / (name + ".port")

else:

    def _check_owner(path: Path) -> None:
        info = path.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
            raise DevsyncError(
                f"{path} is not a folder of yours, so a socket in it could be forged.",
                "Remove it, or set COLAB_DEVSYNC_RUNTIME_DIR to a folder you own.",
            )
        if info.st_mode & 0o077:
            path.chmod(0o700)
        parent = path.parent.stat()
        theirs = parent.st_uid not in (0, os.getuid())
        if theirs or (parent.st_mode & 0o002 and not parent.st_mode & stat.S_ISVTX):
            raise DevsyncError(
                f"Others may write to {path.parent}, so {path.name} could be forged.",
                "Set COLAB_DEVSYNC_RUNTIME_DIR to a folder you own.",
            )

    def _socket_path(runtime: Path, name: str) -> Path:
        path = runtime / (name + ".sock")
        if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
            return path
        short = Path(os.environ.get("TMPDIR", "/tmp")) / f"{APP}-{os.getuid()}"
        if len(os.fsencode(short)) > _MAX_SOCKET_PATH - 22:
            short = Path("/tmp") / f"{APP}-{os.getuid()}"
        return private_dir(short) / (_digest(str(path)) + ".sock")


def is_checkout() -> bool:
    """The code runs from a source tree rather than from an installation."""
    return not {"site-packages", "dist-packages"} & set(PACKAGE.parts)


def _digest(text: str) -> str:
    # FNV-1a: names need no cryptography, and hashlib costs 10 ms at start.
    value = 0xCBF29CE484222325
    for byte in os.fsencode(text):
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"[:10]
