"""A stand-in for a Colab VM: a home of its own in which the bootstrap script runs.

Its SSH server is the real one, started by the script, on a free port of this machine.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

from colab_devsync.core.notebook import script
from colab_devsync.daemon.notebook import program_sources
from tests.support.ports import free_port

TIMEOUT_S = 60.0


def make_key(path: Path) -> str:
    """Makes a key pair; returns the public line."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path.with_suffix(".pub").read_text().strip()


class Vm:
    """`home` plays /root. Not below /tmp: sshd rightly mistrusts keys there."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix=".devsync-vm-", dir=Path.home()))
        self.folder = self.home / ".colab-devsync" / "link"
        self.script = self.home / "bootstrap.py"
        self.script.write_text(script(program_sources()))
        self.key = self.home / "laptop_key"
        self.public_key = make_key(self.key)
        self.port = free_port()
        self.python = sys.executable
        self.env = {**os.environ, "HOME": str(self.home)}
        self.under: tuple[str, ...] = ()  # a command that runs the script

    def __enter__(self) -> Vm:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.run("--stop", options=("--sshd-port", str(self.port)))
        shutil.rmtree(self.home, ignore_errors=True)

    def run(
        self,
        *arguments: str,
        options: tuple[str, ...] | None = None,
        stdin: str = "",
        **env: str,
    ) -> subprocess.CompletedProcess[str]:
        """The script to its end; by default it lets `key` in on `port`."""
        if options is None:
            options = ("--public-key", self.public_key, "--sshd-port", str(self.port))
        return subprocess.run(
            [*self.under, self.python, str(self.script), *options, *arguments],
            env={**self.env, **env},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            start_new_session=True,  # no terminal: nobody can be asked
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """As `run`, but it goes on; its stdout can be read."""
        options = ("--public-key", self.public_key, "--sshd-port", str(self.port))
        return subprocess.Popen(
            [*self.under, self.python, str(self.script), *options, *arguments],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )

    def pid(self, name: str) -> int:
        """Of "sshd", "tunnel" or "ssh"."""
        return int((self.folder / f"{name}.pid").read_text())

    def ssh(
        self, *command: str, options: tuple[str, ...] = (), port: int | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Plain ssh as the laptop, with the host key that the VM made pinned."""
        known = self.home / "known_hosts"
        host_key = (self.folder / "host_key.pub").read_text()
        known.write_text(f"the-vm {host_key}")
        argv = ["ssh", "-F", "/dev/null", "-i", str(self.key), "-p"]
        argv += [str(port or self.port), "-o", f"UserKnownHostsFile={known}"]
        for option in (
            "StrictHostKeyChecking=yes",
            "HostKeyAlias=the-vm",
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            *options,
        ):
            argv += ["-o", option]
        return subprocess.run(
            [*argv, "127.0.0.1", *command],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )


def connect_string(text: str) -> str:
    """The line that a person would paste."""
    found = re.search(r"devsync://[^\s']+", text)
    assert found is not None, text
    return found.group()
