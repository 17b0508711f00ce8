"""A program that speaks on stdin and stdout, behind a TCP port: one per connection."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

_END_S = 30.0


class StdioServer:
    """Starts `argv` for each connection, as an editor does for each session."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        self._argv = list(argv)
        self._env = dict(env)
        self._cwd = cwd
        self.started: list[subprocess.Popen[bytes]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> StdioServer:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(_END_S)
        for process in self.started:
            process.kill()
            process.wait(_END_S)

    def wait_ended(self) -> list[int]:
        """The exit codes of all that were started."""
        return [process.wait(_END_S) for process in self.started]

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                process = subprocess.Popen(
                    self._argv,
                    env=self._env,
                    cwd=self._cwd,
                    stdin=connection,
                    stdout=connection,
                )
                self.started.append(process)
