"""A real OpenSSH server on 127.0.0.1 with its own configuration and throw-away keys.

Limits are OpenSSH's defaults (MaxSessions 10). Works as root and as any user; sessions
run as the user of the test, with HOME in a folder of the server.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.ports import free_port

_READY_S = 30.0
# Runs "$@" and ends it when stdin ends: a killed test run leaves no server behind.
_GUARD = """
"$@" >/dev/null & server=$!; echo $server; exec >/dev/null 3<&0
(read _ <&3; kill $server) &
wait $server
"""


@dataclass(frozen=True)
class Options:
    """What differs from a stock server."""

    forwarding: bool = True
    force_command: str | None = None  # "$SSH_ORIGINAL_COMMAND" holds the real one
    extra: tuple[str, ...] = ()  # lines of sshd_config
    address: str = "127.0.0.1"  # where it is reached
    under: tuple[str, ...] = ()  # a command that runs it, elsewhere


class Sshd:
    """A running server. `folder` holds keys, log and the HOME of its sessions."""

    def __init__(self, folder: Path, options: Options = Options()) -> None:
        self.host = options.address
        self.user = getpass.getuser()
        self.folder = folder
        self.home = folder / "home"
        self.options = options
        self.host_key = folder / "host_key"
        self.identity_file = folder / "user_key"
        self._log = folder / "sshd.log"
        self._binary = require_sshd()
        self.home.mkdir(parents=True, exist_ok=True)
        self._make_keys()
        self.port = 0
        self._pid = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def __enter__(self) -> Sshd:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def fingerprint(self) -> str:
        """SHA256:… of the host key, as ssh-keygen prints it."""
        command = ["ssh-keygen", "-l", "-f", f"{self.host_key}.pub"]
        return subprocess.run(
            command, check=True, capture_output=True, text=True
        ).stdout.split()[1]

    def new_host_key(self) -> None:
        """What a replaced VM does. Takes effect with the next `start`."""
        self.host_key.unlink()
        _keygen(self.host_key)

    def start(self) -> None:
        """Starts (again, on the same port) and returns when it answers."""
        for _ in range(5):
            self.port = self.port or free_port()
            config = self.folder / "sshd_config"
            config.write_text("\n".join(self._config()) + "\n")
            command = [*self.options.under, self._binary, "-D", "-f", str(config)]
            command += ["-E", str(self._log)]
            self._process = subprocess.Popen(
                ["sh", "-c", _GUARD, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            with self._process.stdout as pipe:
                self._pid = int(pipe.readline())
            if self._answers():
                return
            self.close()
            self.port = 0  # somebody took it in between
        raise RuntimeError(f"sshd does not start: {self.log()}")

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def close(self) -> None:
        """Ends the server and its sessions; programs in own sessions live on."""
        if self._process is None:
            return
        sessions = _descendants(self._pid)
        self._process.stdin.close()
        self._process.wait(30)
        self._process = None
        for pid in sessions:
            _kill(pid)

    def kill_sessions(self) -> None:
        """Ends all connections from the server's side; it goes on listening."""
        for pid in _descendants(self._pid):
            _kill(pid)

    def _make_keys(self) -> None:
        for key in (self.host_key, self.identity_file):
            if not key.exists():
                _keygen(key)
        (self.folder / "authorized_keys").write_bytes(
            self.identity_file.with_suffix(".pub").read_bytes()
        )

    def _config(self) -> list[str]:
        options = self.options
        lines = [
            f"Port {self.port}",
            f"ListenAddress {'0.0.0.0' if options.under else options.address}",
            f"HostKey {self.host_key}",
            f"AuthorizedKeysFile {self.folder}/authorized_keys",
            "PidFile none",
            "StrictModes no",
            "UsePAM no",
            "UseDNS no",
            "PermitRootLogin prohibit-password",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "Subsystem sftp internal-sftp",
            f"SetEnv HOME={self.home}",
            f"AllowTcpForwarding {'yes' if options.forwarding else 'no'}",
        ]
        if options.force_command:
            lines.append(f"ForceCommand {options.force_command}")
        return [*lines, *options.extra]

    def _answers(self) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with socket.create_connection((self.host, self.port), 1) as probe:
                    if probe.recv(4) == b"SSH-":
                        return True
            except OSError:
                time.sleep(0.005)  # not listening yet; there is no event to wait for
        return False


def require_sshd() -> str:
    """sshd must be called by its full path. Missing: a skip, but an error in CI."""
    path = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin:/usr/local/sbin"
    binary = shutil.which("sshd", path=path)
    if binary is None:
        reason = "needs the OpenSSH server (apt-get install openssh-server)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    return binary


def _keygen(path: Path) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def _descendants(pid: int) -> list[int]:
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], check=True, capture_output=True, text=True
    ).stdout
    children: dict[int, list[int]] = {}
    for line in listing.splitlines():
        child, parent = map(int, line.split())
        children.setdefault(parent, []).append(child)
    found: list[int] = []
    todo = [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended by itself
        os.kill(pid, signal.SIGKILL)
