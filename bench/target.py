"""The machine measured against: an sshd on loopback, reached through a proxy."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """How an ordinary ssh client reaches the machine.

    `root` is a folder there. Because it is this machine too, arrival can be seen by
    looking at the file system, which costs no round trip.
    """

    host: str
    port: int
    user: str
    key: Path
    known_hosts: Path
    root: Path
    control: Path | None = None  # ControlMaster socket, if one is open

    def options(self) -> list[str]:
        """What ssh and scp both take. `-F none`: nobody's own settings."""
        settings = [
            f"UserKnownHostsFile={self.known_hosts}",
            "StrictHostKeyChecking=yes",
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            # The same cipher for everyone: it is not what is compared here.
            "Ciphers=aes128-gcm@openssh.com",
        ]
        if self.control:
            settings += [f"ControlPath={self.control}", "ControlMaster=no"]
        flags = [part for one in settings for part in ("-o", one)]
        return ["-F", "none", "-i", str(self.key), *flags]

    def ssh(self) -> list[str]:
        return ["ssh", "-p", str(self.port), "-l", self.user, *self.options()]

    def shell(self) -> str:
        """The ssh command as one string, for rsync -e and the like."""
        return shlex.join(self.ssh())

    def scp(self) -> list[str]:
        return ["scp", "-q", "-P", str(self.port), *self.options()]

    def place(self, name: str = "") -> str:
        """`host:/path` as rsync and scp write it."""
        return f"{self.user}@{self.host}:{self.root / name}"


class Master:
    """An open ControlMaster: what a careful person uses to save the handshakes."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.target = replace(target, control=folder / "cm")
        argv = [*target.ssh(), "-o", f"ControlPath={self.target.control}"]
        argv += ["-o", "ControlMaster=yes", "-o", "ControlPersist=yes", "-N", "-f"]
        subprocess.run([*argv, target.host], check=True, timeout=60)

    def __enter__(self) -> Target:
        return self.target

    def __exit__(self, *_: object) -> None:
        argv = [*self.target.ssh(), "-O", "exit", self.target.host]
        subprocess.run(argv, check=False, capture_output=True, timeout=60)
