"""Our own file of `Host` blocks, ~/.ssh/colab-devsync.config: one block per project.

The file is ours alone and rewritten as a whole, under a lock that daemon and command
line share. A block never turns host key checking off: the key that the session proved
stands under the alias in the project's own known_hosts. Opens no connection.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..core.config import CONFIG_NAME
from ..core.ssh_access import SshAccess
from ..engine import places
from ..engine.ports.replace_file import replace_file
from ..errors import Busy, ConfigError, DevsyncError
from .lock import FileLock

_log = logging.getLogger(__name__)

OWN_NAME = "colab-devsync.config"
_HEAD = (
    "# colab-devsync writes this file; what you change here is lost.\n"
    "# `colab-devsync ssh-config --remove` takes it away again.\n"
)
_MARK = "# project "
_LOCK_S = 5.0
_LOCK_EVERY_S = 0.02


@dataclass(frozen=True)
class Entry:
    """One project's block in our file."""

    alias: str
    folder: str
    profile: str | None
    text: str

    def is_of(self, folder: str, profile: str | None) -> bool:
        return (self.folder, self.profile) == (folder, profile)


class SshConfig:
    """The blocks of one user."""

    def __init__(self, ssh_dir: Path | None = None) -> None:
        self.folder = ssh_dir or Path.home() / ".ssh"
        self.path = self.folder / OWN_NAME

    def install(self, access: SshAccess) -> bool:
        """Adds or replaces the block; False if it stood there already. ConfigError if
        another project has the alias."""
        with _locked():
            entries = self._read()
            _refuse_taken(entries, access)
            return self._write(entries, access)

    def has(self, alias: str) -> bool:
        """Whether some project's block has this alias."""
        return any(one.alias == alias for one in self._read())

    def refresh(self, access: SshAccess) -> bool:
        """Brings an installed block up to date; nothing happens if there is none."""
        if not self.path.exists():
            return False
        with _locked():
            entries = self._read()
            if not any(one.is_of(access.folder, access.profile) for one in entries):
                return False
            return self._write(entries, access)

    def remove(self, folder: str, profile: str | None) -> tuple[str, ...]:
        """Takes the project's block out, and those of projects that are gone; returns
        the aliases that are left. The last block takes the file with it."""
        with _locked():
            entries = self._read()
            left = [
                one
                for one in entries
                if not one.is_of(folder, profile) and _exists(one)
            ]
            if left:
                replace_file(self.path, _render(left), mode=0o600)
            else:
                self.path.unlink(missing_ok=True)
            return tuple(one.alias for one in left)

    def _read(self) -> list[Entry]:
        try:
            return _parse(self.path.read_text("utf-8", "surrogateescape"))
        except FileNotFoundError:
            return []

    def _write(self, entries: Iterable[Entry], access: SshAccess) -> bool:
        """Replaces the project's block and whatever else had its alias."""
        new = Entry(access.alias, access.folder, access.profile, block(access))
        kept = [
            one
            for one in entries
            if not one.is_of(new.folder, new.profile) and one.alias != new.alias
        ]
        text = _render([*kept, new])
        make_private_folder(self.folder)
        return replace_file(self.path, text, mode=0o600)


def block(access: SshAccess) -> str:
    """The `Host` block of one project."""
    identity = (
        (f"IdentityFile {quoted(access.identity_file)}", "IdentitiesOnly yes")
        if access.identity_file
        else ()
    )
    lines = (
        "HostName 127.0.0.1",
        f"Port {access.port}",
        f"User {access.user}",
        *identity,
        f"HostKeyAlias {access.alias}",
        f"UserKnownHostsFile {quoted(access.known_hosts)}",
        "StrictHostKeyChecking yes",
        "NoHostAuthenticationForLocalhost no",
        "UpdateHostKeys no",
        "ConnectTimeout 40",  # the session may have to reconnect first
        "ServerAliveInterval 15",
        "ServerAliveCountMax 4",
    )
    return f"Host {access.alias}\n" + "".join(f"    {line}\n" for line in lines)


def quoted(path: str) -> str:
    """A path as ssh_config takes it: "/" on Windows too, "%" doubled."""
    text = path.replace("\\", "/") if sys.platform == "win32" else path
    if re.search(r'["\\\x00-\x1f]', text):
        raise ConfigError(
            f"ssh_config cannot name {path!r}.",
            "Move it to a path without quotes, backslashes and control characters.",
        )
    text = text.replace("%", "%%")
    return f'"{text}"' if re.search(r"[\s#']", text) else text


def refresh_soon(access: SshAccess) -> None:
    """`refresh` on a thread of its own; what goes wrong is logged. Any thread."""

    def run() -> None:
        try:
            if SshConfig().refresh(access):
                _log.info("%s is now port %d", access.alias, access.port)
        except (DevsyncError, OSError) as error:
            _log.warning("cannot update the SSH alias %s: %s", access.alias, error)

    threading.Thread(target=run, name="devsync-ssh-config", daemon=True).start()


def make_private_folder(folder: Path) -> None:
    """~/.ssh, as ssh itself makes it."""
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _refuse_taken(entries: Iterable[Entry], access: SshAccess) -> None:
    for one in entries:
        same = one.is_of(access.folder, access.profile)
        if one.alias == access.alias and not same and _exists(one):
            raise ConfigError(
                f"The SSH alias {one.alias} belongs to the project {one.folder}.",
                f"Give one of them another `name` in its {CONFIG_NAME}.",
            )


def _exists(entry: Entry) -> bool:
    return (Path(entry.folder) / CONFIG_NAME).is_file()


def _render(entries: Iterable[Entry]) -> str:
    parts = [_HEAD]
    for one in sorted(entries, key=lambda entry: entry.alias):
        mark = {"alias": one.alias, "folder": one.folder, "profile": one.profile}
        parts.append(f"\n{_MARK}{json.dumps(mark)}\n{one.text}")
    return "".join(parts)


def _parse(text: str) -> list[Entry]:
    """What `_render` wrote; lines that somebody else added are dropped."""
    found = []
    for part in re.split(rf"^(?={_MARK}\{{)", text, flags=re.MULTILINE)[1:]:
        mark, _, body = part.partition("\n")
        try:
            said = json.loads(mark.removeprefix(_MARK))
            names = said["alias"], said["folder"], said["profile"]
        except (ValueError, KeyError, TypeError):
            continue  # damaged by hand; the next `ssh-config` there writes it anew
        found.append(Entry(*names, body.rstrip("\n") + "\n"))
    return found


@contextmanager
def _locked() -> Iterator[None]:
    """One writer at a time, in this process or another. DevsyncError for what the
    system refuses inside."""
    try:
        with _lock():
            yield
    except OSError as error:
        raise DevsyncError(
            f"Cannot write {OWN_NAME}: {error.strerror or error} ({error.filename}).",
            "Check the permissions of ~/.ssh and of the files in it.",
        ) from error


@contextmanager
def _lock() -> Iterator[None]:
    folder = places.state_dir()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = FileLock(folder / "ssh_config.lock")
    deadline = time.monotonic() + _LOCK_S
    while not lock.try_acquire():
        if time.monotonic() > deadline:
            raise Busy(
                f"Another colab-devsync is writing {OWN_NAME}.",
                "Try again in a moment.",
            )
        time.sleep(_LOCK_EVERY_S)
    with lock:
        yield
