"""The VM's key for the relay: made here, restricted there, pasted into Colab once.

One per relay and account there, in the user's state folder. It is never the laptop's
own key: whoever gets hold of it may listen on one port of the relay, and no more.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from ..core.relay import VM_MARK
from ..engine.places import state_dir


@dataclass(frozen=True)
class VmKey:
    """Both halves; `public` is "ssh-ed25519 AAAA... colab-vm"."""

    path: Path
    public: str

    @property
    def private(self) -> str:
        return self.path.read_text(encoding="ascii")


def vm_key_path(vm_user: str, host: str, port: int) -> Path:
    """Where it is kept. `host` may be an IPv6 address, which no file can be named."""
    name = f"{vm_user}@{host.replace(':', '.')}_{port}"
    return state_dir() / "relay" / name


def vm_key(vm_user: str, host: str, port: int, *, make: bool = False) -> VmKey | None:
    """The key; made if there is none and `make` is set."""
    path = vm_key_path(vm_user, host, port)
    if not path.exists():
        if not make:
            return None
        _make(path)
    return VmKey(path, f"{_public_of(path)} {VM_MARK}")


def _make(path: Path) -> None:
    """A second process that makes it at the same time loses: the first key stays."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    data = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)


def _public_of(path: Path) -> str:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_ssh_private_key(path.read_bytes(), password=None)
    line = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return line.decode("ascii")
