"""The `sftp` subsystem: paramiko speaks the protocol, this is the file system.

Paths are the machine's; relative ones start in the VM folder. One thread per channel,
`devsync-sandbox-sftp`. Not a jail, like everything in the sandbox.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import paramiko
from paramiko import SFTPAttributes, SFTPHandle, SFTPServer, SFTPServerInterface
from paramiko.sftp import SFTP_FAILURE, SFTP_OK

T = TypeVar("T")


def start_sftp(
    channel: paramiko.Channel, server: paramiko.ServerInterface, vm: Path
) -> None:
    """Serves `channel` on a thread of its own until the client has gone."""
    thread = SFTPServer(channel, "sftp", server, _Files, channel, str(vm))
    thread.name = "devsync-sandbox-sftp"
    thread.daemon = True
    thread.start()


def _told(call: Callable[..., T]) -> Callable[..., T | int]:
    """What the system refuses becomes a status for the client."""

    @functools.wraps(call)
    def wrapper(*args: object) -> T | int:
        try:
            return call(*args)
        except OSError as error:
            return SFTPServer.convert_errno(error.errno or 0)

    return wrapper


class _Files(SFTPServerInterface):
    def __init__(
        self, server: paramiko.ServerInterface, channel: paramiko.Channel, start: str
    ) -> None:
        self._channel = channel
        self._start = start

    def session_ended(self) -> None:
        """The client asked all it wanted; without this, scp calls it a failure."""
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.send_exit_status(0)

    def canonicalize(self, path: str) -> str:
        return os.path.realpath(self._real(path))

    @_told
    def open(self, path: str, flags: int, attr: SFTPAttributes) -> SFTPHandle:
        mode = 0o666 if attr.st_mode is None else attr.st_mode & 0o7777
        return _File(os.open(self._real(path), flags, mode))

    @_told
    def list_folder(self, path: str) -> list[SFTPAttributes]:
        found = []
        with os.scandir(self._real(path)) as entries:
            for entry in entries:
                # gone meanwhile, or a name that is not UTF-8, as the protocol's are
                with contextlib.suppress(FileNotFoundError, UnicodeEncodeError):
                    entry.name.encode()
                    stat = entry.stat(follow_symlinks=False)
                    found.append(SFTPAttributes.from_stat(stat, entry.name))
        return found

    @_told
    def stat(self, path: str) -> SFTPAttributes:
        return SFTPAttributes.from_stat(os.stat(self._real(path)))

    @_told
    def lstat(self, path: str) -> SFTPAttributes:
        return SFTPAttributes.from_stat(os.lstat(self._real(path)))

    @_told
    def remove(self, path: str) -> int:
        os.unlink(self._real(path))
        return SFTP_OK

    @_told
    def rename(self, oldpath: str, newpath: str) -> int:
        if os.path.lexists(self._real(newpath)):
            return SFTP_FAILURE  # the protocol's rename never replaces
        os.rename(self._real(oldpath), self._real(newpath))
        return SFTP_OK

    @_told
    def posix_rename(self, oldpath: str, newpath: str) -> int:
        os.replace(self._real(oldpath), self._real(newpath))
        return SFTP_OK

    @_told
    def mkdir(self, path: str, attr: SFTPAttributes) -> int:
        os.mkdir(
            self._real(path),
            0o777 if attr.st_mode is None else attr.st_mode & 0o7777,
        )
        return SFTP_OK

    @_told
    def rmdir(self, path: str) -> int:
        os.rmdir(self._real(path))
        return SFTP_OK

    @_told
    def chattr(self, path: str, attr: SFTPAttributes) -> int:
        _change(self._real(path), attr)
        return SFTP_OK

    @_told
    def readlink(self, path: str) -> str:
        return os.readlink(self._real(path))

    @_told
    def symlink(self, target_path: str, path: str) -> int:
        os.symlink(target_path, self._real(path))
        return SFTP_OK

    def _real(self, path: str) -> str:
        return os.path.join(self._start, path)


class _File(SFTPHandle):
    """An open file, by its descriptor."""

    def __init__(self, handle: int) -> None:
        super().__init__()
        self._handle = handle

    def close(self) -> None:
        os.close(self._handle)

    @_told
    def read(self, offset: int, length: int) -> bytes:
        os.lseek(self._handle, offset, os.SEEK_SET)
        return os.read(self._handle, length)

    @_told
    def write(self, offset: int, data: bytes) -> int:
        os.lseek(self._handle, offset, os.SEEK_SET)
        view = memoryview(data)
        while view:
            view = view[os.write(self._handle, view) :]
        return SFTP_OK

    @_told
    def stat(self) -> SFTPAttributes:
        return SFTPAttributes.from_stat(os.fstat(self._handle))

    @_told
    def chattr(self, attr: SFTPAttributes) -> int:
        _change(self._handle, attr)
        return SFTP_OK


def _change(target: str | int, attr: SFTPAttributes) -> None:
    """Sets what `attr` names. Owners are left alone, as for every ordinary user."""
    if attr.st_size is not None:
        os.truncate(target, attr.st_size)
    if attr.st_mode is not None:
        os.chmod(target, attr.st_mode & 0o7777)
    if attr.st_atime is not None and attr.st_mtime is not None:
        os.utime(target, (attr.st_atime, attr.st_mtime))
