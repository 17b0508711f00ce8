"""A real sshd as a relay, with the two restricted keys of `relay setup`.

Everything is one user, the one who runs the tests; what would be the Match blocks of
the two accounts is `RULES`. `extra` and `vm_line` weaken it on purpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .ports import free_port
from .sshd import Options, Sshd
from .vm import make_key

VM_LINE = (
    'restrict,port-forwarding,permitlisten="localhost:{port}",'
    'permitopen="localhost:1" {key}'
)
LAPTOP_LINE = (
    'restrict,port-forwarding,permitopen="localhost:{port}",'
    'permitlisten="localhost:1" {key}'
)

RULES = (
    "PermitTTY no",
    "AllowStreamLocalForwarding no",
    "AllowAgentForwarding no",
    "PermitTunnel no",
    "X11Forwarding no",
    "ForceCommand /usr/sbin/nologin",
)


class Relay:
    """`vm_key` may listen on `port`, `laptop_key` may reach it."""

    def __init__(
        self,
        folder: Path,
        *,
        vm_line: str = VM_LINE,
        laptop_line: str = LAPTOP_LINE,
        extra: Sequence[str] = RULES,
        address: str = "127.0.0.1",
        under: tuple[str, ...] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.vm_key, self.laptop_key = folder / "vm_key", folder / "laptop_key"
        lines = [
            vm_line.format(port=self.port, key=make_key(self.vm_key)),
            laptop_line.format(port=self.port, key=make_key(self.laptop_key)),
        ]
        alive = ("ClientAliveInterval 15", "ClientAliveCountMax 2")
        options = Options(extra=(*alive, *extra), address=address, under=under)
        self.sshd = Sshd(folder / "sshd", options)
        (self.sshd.folder / "authorized_keys").write_text("\n".join(lines) + "\n")

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *exc: object) -> None:
        self.sshd.close()

    @property
    def where(self) -> str:
        return f"{self.sshd.host}:{self.sshd.port}"

    @property
    def login(self) -> str:
        return f"{self.sshd.user}@{self.where}"

    def options(self) -> tuple[str, ...]:
        """What the VM's script is given."""
        return (
            *("--provider", "relay", "--relay", self.where),
            *("--relay-user", self.sshd.user, "--relay-port", str(self.port)),
            *("--relay-host-key", self.sshd.fingerprint, "--via", self.login),
        )

    def proxy(self) -> str:
        """ssh's ProxyCommand that leads a laptop to the VM."""
        return (
            f"ProxyCommand=ssh -F /dev/null -i {self.laptop_key} -p {self.sshd.port} "
            "-o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=no "
            "-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "
            f"-W localhost:{self.port} {self.sshd.user}@{self.sshd.host}"
        )
