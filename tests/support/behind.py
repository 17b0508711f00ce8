"""A real SSH server behind a real relay, and the tunnel between them, over loopback."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from colab_devsync.link.base import Connection
from colab_devsync.link.hostkeys import HostKey, pins_of

from .relay import Relay
from .remotes import Login, Remote
from .sshd import Sshd


class Behind:
    """A VM's SSH server, a relay, and the VM's own tunnel to it."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.stack = ExitStack()
        self.relay = self.stack.enter_context(Relay(folder / "relay", **options))
        self.vm = self.stack.enter_context(Sshd(folder / "vm"))
        with (self.vm.folder / "authorized_keys").open("a") as file:
            file.write(self.relay.laptop_key.with_suffix(".pub").read_text())
        login = Login(
            self.relay.port,
            self.vm.user,
            self.relay.laptop_key,
            self.vm.fingerprint,
            "localhost",
        )
        self.remote = Remote("sshd", login, folder / "root", folder / "state")
        self.remote.root.mkdir()
        self.pin_relay(self.relay.where)
        self.tunnel: subprocess.Popen[bytes] | None = None

    def pin_relay(self, where: str) -> None:
        key = HostKey("ssh-ed25519", self.relay.sshd.fingerprint)
        pins_of(self.remote.state).put(None, where, key)

    def open_tunnel(self) -> None:
        """As the notebook does it; returns when the relay listens."""
        relay, options = self.relay, ["-F", "none", "-N", "-v"]
        for one in (
            *("BatchMode=yes", "IdentitiesOnly=yes", "ExitOnForwardFailure=yes"),
            *("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"),
        ):
            options += ["-o", one]
        options += ["-R", f"localhost:{relay.port}:localhost:{self.vm.port}"]
        options += ["-i", str(relay.vm_key), "-p", str(relay.sshd.port)]
        self.tunnel = subprocess.Popen(
            ["ssh", *options, f"{relay.sshd.user}@127.0.0.1"], stderr=subprocess.PIPE
        )
        assert self.tunnel.stderr is not None
        said = b""
        while b"remote forward success" not in said:
            line = self.tunnel.stderr.readline()
            assert line, said
            said += line

    def connect(self, **changes: Any) -> Connection:
        fields = {"provider": "relay", "relay": self.relay.login, **changes}
        return self.remote.connect(**fields)

    def close(self) -> None:
        self.remote.close()
        if self.tunnel is not None:
            self.tunnel.kill()
            self.tunnel.communicate()
        self.stack.close()
