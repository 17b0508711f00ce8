"""`colab-devsync lsp`: bytes between an editor's pipes and the daemon's socket.

Two threads, no parsing, no buffering: the main thread carries socket -> stdout, and
`devsync-pump` carries stdin -> socket. Imports nothing heavy, because an editor waits
for it at every start. If the daemon dies the exit code is not 0, so that the editor
starts a new pump, and with it a new daemon.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import threading

from ..errors import DevsyncError
from .address import current_address
from .dial import NotRunning, dial

_CHUNK = 65536
_SAID_EXIT = re.compile(rb'"method"\s*:\s*"exit"')


def run(profile: str | None = None) -> int:
    """Until either side closes. 0 after the editor's `exit` or the end of its pipe."""
    try:
        connection = _connect(profile)
    except DevsyncError as error:
        _complain(f"{error.message} {error.hint}")
        return error.exit_code
    return carry(connection)


def carry(connection: socket.socket) -> int:
    """The same over a connection that is already open."""
    upstream = _Upstream(connection)
    threading.Thread(target=upstream.run, name="devsync-pump", daemon=True).start()
    try:
        while data := _receive(connection):
            _write_all(1, data)
    except BrokenPipeError:
        return 0  # the editor is gone
    if upstream.finished:
        return 0
    _complain("The colab-devsync daemon ended.")
    return 1


def _connect(profile: str | None) -> socket.socket:
    address = current_address()
    try:
        return dial(address, profile=profile)[0]
    except NotRunning:
        from .spawn import connect_or_start  # subprocess is only needed now

        return connect_or_start(address, profile=profile)[0]


class _Upstream:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._tail = b""
        self._closed = False

    @property
    def finished(self) -> bool:
        """The editor closed its pipe, or the last it said was `exit`."""
        return self._closed or _SAID_EXIT.search(self._tail) is not None

    def run(self) -> None:
        try:
            while data := os.read(0, _CHUNK):
                self._tail = (self._tail + data)[-200:]
                self._connection.sendall(data)
            self._closed = True
            self._connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the main thread sees the same end and reports it


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(_CHUNK)
    except ConnectionError:
        return b""


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _complain(message: str) -> None:
    sys.stderr.write(f"colab-devsync lsp: {message}\n")
