"""What every row measures in: sshd, a delay proxy before it, private folders.

Owns the processes it starts and ends them. The product runs with its own HOME, state
and runtime folders, so that the user's daemon is neither used nor disturbed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.proxy import ChaosProxy
from tests.support.sshd import Sshd

from .lsp_client import LspClient
from .target import Target

PRODUCT = [sys.executable, "-m", "colab_devsync"]
ONLINE_S = 60


@dataclass(frozen=True)
class Project:
    """A local folder with a `.colabremote.toml`, and where it goes on the VM."""

    root: Path
    remote: Path


@dataclass(frozen=True)
class Traffic:
    """Bytes that passed the proxy; `up` is towards the VM."""

    up: int
    down: int

    @property
    def total(self) -> int:
        return self.up + self.down


class World:
    def __init__(self) -> None:
        self._stack = ExitStack()
        # Short on purpose: a Unix socket's path may not be longer than ~100 bytes.
        enter = self._stack.enter_context
        self.folder = Path(enter(tempfile.TemporaryDirectory(prefix="bd")))
        self.sshd = enter(Sshd(self.folder / "sshd"))
        self.proxy = enter(ChaosProxy(self.sshd.port))
        self._stack.callback(self.stop_daemon)
        self._count = 0
        self.env = self._environment()

    def __enter__(self) -> World:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def rtt(self, ms: float) -> None:
        self.proxy.shape(rtt_ms=ms)

    def target(self) -> Target:
        """A new folder on the machine, as ordinary ssh clients reach it."""
        known = self.folder / "known_hosts"
        public = self.sshd.host_key.with_suffix(".pub").read_text().split()
        known.write_text(f"[127.0.0.1]:{self.proxy.port} {public[0]} {public[1]}\n")
        root = self.new("other")
        root.mkdir()
        return Target(
            host="127.0.0.1",
            port=self.proxy.port,
            user=self.sshd.user,
            key=self.sshd.identity_file,
            known_hosts=known,
            root=root,
        )

    def project(self, link: str = "") -> Project:
        """A new, empty project that goes through the proxy, or as `link` says."""
        project = Project(self.new("project"), self.new("remote"))
        project.root.mkdir()
        (project.root / ".colabremote.toml").write_text(
            f"""name = "bench"
[link]
{link or self._direct()}
user = "{self.sshd.user}"
host_key = "{self.sshd.fingerprint}"
[remote]
root = "{project.remote}"
python = "{sys.executable}"
[sync]
max_file_size = "200MB"
"""
        )
        return project

    def _direct(self) -> str:
        key = f'identity_file = "{self.sshd.identity_file}"'
        return (
            f'provider = "direct"\nhost = "127.0.0.1"\nport = {self.proxy.port}\n{key}'
        )

    @contextmanager
    def client(self, project: Project) -> Iterator[LspClient]:
        """An editor with the project open. Not connected to the VM yet."""
        log = self.folder / "lsp.log"
        argv = [*PRODUCT, "lsp"]
        with LspClient(argv, cwd=project.root, env=self.env, log=log) as client:
            client.initialize(project.root)
            yield client

    @contextmanager
    def online(self, project: Project) -> Iterator[LspClient]:
        """The same, with the VM up to date."""
        with self.client(project) as client:
            folder = {"folder": str(project.root)}
            client.command("devsync.connect", folder, ONLINE_S)
            client.command("devsync.sync", folder, 300)
            yield client
            client.command("devsync.disconnect", folder, ONLINE_S)

    def traffic(self) -> Traffic:
        counts = self.proxy.counts()
        return Traffic(counts.up, counts.down)

    def cli(self, *arguments: str) -> dict[str, Any]:
        """The last JSON object that `colab-devsync --json ARGUMENTS` prints."""
        done = subprocess.run(
            [*PRODUCT, "--json", *arguments],
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        body: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return body

    def stop_daemon(self) -> None:
        """Idempotent."""
        subprocess.run(
            [*PRODUCT, "daemon", "stop"],
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            timeout=60,
            check=False,
        )

    def new(self, kind: str) -> Path:
        """A path that is not used yet."""
        self._count += 1
        return self.folder / f"{kind}{self._count}"

    def _environment(self) -> dict[str, str]:
        home = self.home = self.folder / "home"
        self.colab = self.folder / "colab"  # a stand-in for Colab's files, if there is
        folders = {"HOME": home}
        for kind in ("RUNTIME", "STATE", "CACHE"):
            folders[f"COLAB_DEVSYNC_{kind}_DIR"] = home / kind.lower()
        for folder in folders.values():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ours = {name: str(path) for name, path in folders.items()}
        ours["COLAB_DEVSYNC_COLAB_SESSIONS"] = str(self.colab / "sessions.json")
        ours["SSL_CERT_FILE"] = str(self.colab / "cert.pem")
        # A daemon that dies of a signal says where, in its crash log.
        return {**os.environ, **ours, "PYTHONFAULTHANDLER": "1"}
