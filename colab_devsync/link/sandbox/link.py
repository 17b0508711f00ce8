"""Provider `sandbox`: starts the server process and connects to it like to any VM.

The process lives until `close`, or until this process ends. The VM folder stays: the
next start is the same VM, until `replace_vm` deletes it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.events import Ask
from ...errors import ConnectFailed, LinkError
from ..base import Connection
from ..hostkeys import HostKey, Trust, pins_of
from ..keys import identities
from ..ssh import Endpoint, open_connection
from ..wire import dial

_STOP_S = 5.0


@dataclass(frozen=True)
class SandboxSpec:
    """`folder` holds keys and the VM. `drop_after`: the first connection after each
    start of the server is cut after so many bytes in both directions together."""

    folder: Path
    rtt_ms: float = 0
    bandwidth: int = 0
    drop_after: int = 0

    @property
    def vm(self) -> Path:
        return self.folder / "vm"


class SandboxLink:
    """Implements `Link` of link/base.py. Raises LinkError on Windows."""

    def __init__(self, spec: SandboxSpec) -> None:
        if os.name == "nt":
            raise LinkError(
                'provider = "sandbox" needs Linux or macOS', "use WSL, or another link"
            )
        self._spec = spec
        self._server: ServerProcess | None = None
        self._lock = threading.Lock()

    @property
    def label(self) -> str:
        return f"sandbox {self._spec.folder.name}"

    def connect(self, ask: Ask, timeout_s: float) -> Connection:
        with self._lock:
            if self._server is not None and not self._server.runs():
                self._server.stop()
                self._server = None
            if self._server is None:
                self._server = ServerProcess(self._spec)
            server = self._server
        endpoint = Endpoint("sandbox", "127.0.0.1", server.port)
        # our own child told us its key over a pipe: nobody has to be asked
        pins = pins_of(self._spec.folder)
        trust = Trust(pins, None, endpoint.machine, server.host_key.fingerprint)
        with identities(str(server.client_key), Path.home()) as keys:
            wire = dial(endpoint.host, endpoint.port, timeout_s)
            return open_connection(
                wire, endpoint, trust, keys, ask=ask, timeout_s=timeout_s
            )

    def place(self, path: str) -> str:
        return str(self._spec.vm) + "/" + path.lstrip("/")

    def close(self) -> None:
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.stop()


def replace_vm(folder: Path) -> None:
    """What a new runtime does: an empty VM. Only while no server runs on `folder`."""
    shutil.rmtree(folder / "vm", ignore_errors=False)


class ServerProcess:
    """The server process: `python -m colab_devsync.link.sandbox`."""

    def __init__(self, spec: SandboxSpec) -> None:
        spec.vm.mkdir(parents=True, exist_ok=True)
        self._log = spec.folder / "server.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                _command(spec),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=spec.folder,  # not the project's: its modules must not shadow ours
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.stop()
            words = self._log.read_text(errors="replace").strip().splitlines()
            last = words[-1] if words else "it said nothing"
            raise ConnectFailed(
                f"the sandbox server did not start: {last}",
                f"its output is in {self._log}",
            )
        ready = json.loads(line)
        self.port = int(ready["port"])
        self.host_key = HostKey(ready["kind"], ready["fingerprint"])
        self.client_key = Path(ready["client_key"])

    def runs(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """The end of its stdin ends the server; it ends its programs."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it was faster
            self._process.stdin.close()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def _command(spec: SandboxSpec) -> Sequence[str]:
    return [
        sys.executable,
        "-m",
        "colab_devsync.link.sandbox",
        f"--folder={spec.folder.resolve()}",
        f"--rtt-ms={spec.rtt_ms}",
        f"--bandwidth={spec.bandwidth}",
        f"--drop-after={spec.drop_after}",
    ]
