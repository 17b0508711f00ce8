"""A server with the distribution's own /etc/ssh/sshd_config, to be set up as a relay.

It lives in mounts of its own: a copy of /etc, an empty /home and /run. What `useradd`
and the script do there is gone with it. Needs root (or sudo is of no use here: the
users it makes must be real ones).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from .ports import free_port
from .sshd import require_sshd
from .vm import make_key

_READY_S = 30.0
_SCRIPT = """
mount --bind "$1" /etc
mount -t tmpfs tmpfs /home
mount -t tmpfs tmpfs /run
mkdir -m 755 /run/sshd
rm -f /etc/ssh/sshd_config.d/colab-devsync*
[ -f /etc/ssh/ssh_host_ed25519_key ] ||
  ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
exec "$2" -D -p "$3" -E "$4/sshd.log" -o ListenAddress=127.0.0.1 \\
  -o PidFile=/run/sshd.pid -o UsePAM=no -o StrictModes=no \\
  -o "AuthorizedKeysFile=.ssh/authorized_keys $4/admin_keys"
"""


class StockServer:
    """`admin` is the key that root logs in with."""

    def __init__(self, folder: Path) -> None:
        sshd = require_sshd()
        if os.geteuid() != 0 or not shutil.which("unshare"):
            pytest.skip("needs root and private mounts: it makes users")
        folder.mkdir()
        self.folder = folder
        self.admin = folder / "admin"
        (folder / "admin_keys").write_text(make_key(self.admin) + "\n")
        etc = folder / "etc"
        subprocess.run(["cp", "-a", "/etc", str(etc)], check=True)
        self.port = free_port()
        argv = ["unshare", "-m", "sh", "-ec", _SCRIPT, "sh"]
        argv += [str(etc), sshd, str(self.port), str(folder)]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        self._wait()

    def __enter__(self) -> StockServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.terminate()
        self.process.wait(30)

    @property
    def login(self) -> str:
        return f"root@127.0.0.1:{self.port}"

    @property
    def fingerprint(self) -> str:
        key = self.folder / "etc" / "ssh" / "ssh_host_ed25519_key.pub"
        command = ["ssh-keygen", "-l", "-f", str(key)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.split()[1]

    def ssh_options(self) -> tuple[str, ...]:
        """For `relay setup`: how the administrator gets in."""
        found: list[str] = []
        for option in (
            f"IdentityFile={self.admin}",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
        ):
            found += ["-o", option]
        return tuple(found)

    def run(self, command: str) -> str:
        """As root, inside its mounts."""
        argv = ["nsenter", "-t", str(self.process.pid), "-m", "sh", "-c", command]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def users(self) -> list[str]:
        return [
            line.partition(":")[0]
            for line in self.run("cat /etc/passwd").splitlines()
            if line.startswith("colab")
        ]

    def _wait(self) -> None:
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1):
                    return
            except OSError:
                time.sleep(0.01)
        log = self.folder / "sshd.log"
        raise RuntimeError(f"no server: {log.read_text() if log.exists() else ''}")
