"""The one line in the user's ~/.ssh/config that includes our file of blocks.

Everything else in that file stays byte for byte: line endings, permissions, comments,
and the symbolic link it may be. Local files only.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from ..engine.ports.replace_file import replace_file
from ..errors import DevsyncError
from .ssh_config import OWN_NAME, make_private_folder, quoted

if sys.platform != "win32":
    import pwd

BACKUP_NAME = "config.before-colab-devsync"
# Ours, however it names the folder; and the scope that an earlier line may have opened.
_OURS = re.compile(
    rb'[ \t]*include[ \t]+"?([^"\r\n]*[/\\])?%s"?[ \t]*' % re.escape(OWN_NAME.encode()),
    re.IGNORECASE,
)
_SCOPE = re.compile(rb"[ \t]*(host|match)[ \t=]", re.IGNORECASE)


class Include:
    """~/.ssh/config of one user."""

    def __init__(self, ssh_dir: Path | None = None) -> None:
        self.folder = ssh_dir or Path.home() / ".ssh"
        self.path = self.folder / "config"
        self.backup = self.folder / BACKUP_NAME

    @property
    def line(self) -> str:
        """What must stand at the top of the file."""
        own = self.folder / OWN_NAME
        if own.parent == _home_of_ssh() / ".ssh":
            return f"Include ~/.ssh/{OWN_NAME}"
        return f"Include {quoted(str(own))}"

    def is_there(self) -> bool:
        """Whether a line of ours stands before the first `Host` or `Match`."""
        for line in self._read().splitlines():
            if _OURS.fullmatch(line):
                return True
            if _SCOPE.match(line):
                return False
        return False

    def add(self) -> None:
        """Puts the line first, after a backup. DevsyncError if that cannot be done."""
        if self.is_there():
            return
        old = self._read()
        rest = _without_ours(old)
        with self._in_words():
            make_private_folder(self.folder)
            if self.path.exists() and rest == old:
                replace_file(self.backup, old, mode=0o600)
            first = rest.partition(b"\n")[0]
            ending = b"\r\n" if first.endswith(b"\r") else b"\n"
            line = os.fsencode(self.line) + ending
            replace_file(self.path, line + rest, mode=0o600)

    def remove(self) -> bool:
        """Takes the line out again; False if there was none. What we made goes."""
        old = self._read()
        rest = _without_ours(old)
        if rest == old:
            return False
        with self._in_words():
            if not (rest or self.backup.exists() or self.path.is_symlink()):
                self.path.unlink()  # it was not there before us
                return True
            replace_file(self.path, rest, mode=0o600)
            if self.backup.exists() and self.backup.read_bytes() == rest:
                self.backup.unlink()
        return True

    def _read(self) -> bytes:
        with self._in_words(), contextlib.suppress(FileNotFoundError):
            return self.path.read_bytes()
        return b""

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DevsyncError(
                f"Cannot change {self.path}: {error.strerror or error}.",
                f"Put this line at its top yourself: {self.line}",
            ) from error


def _without_ours(data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    return b"".join(one for one in lines if not _OURS.fullmatch(one.rstrip(b"\r\n")))


def _home_of_ssh() -> Path:
    """Where ssh itself looks: it does not care for HOME."""
    if sys.platform != "win32":
        with contextlib.suppress(KeyError):  # a number nobody has given a name
            return Path(pwd.getpwuid(os.getuid()).pw_dir)
    return Path.home()
