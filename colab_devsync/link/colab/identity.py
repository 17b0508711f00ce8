"""The key that opens a runtime: Ed25519 or ECDSA, because Colab takes no RSA.

The public half travels with each connection, so any key does; ours is made at the first
one and never leaves this machine.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import paramiko
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from ...errors import AuthFailed, ConfigError
from ..keys import Identity, load_identity

_KINDS = ("ssh-ed25519", *(f"ecdsa-sha2-nistp{bits}" for bits in (256, 384, 521)))
_NAME = "colab_ed25519"


def identity_for(identity_file: str | None, folder: Path) -> Identity:
    """The configured key, or our own in `folder`. AuthFailed, ConfigError."""
    if identity_file is None:
        path = folder / _NAME
        if not path.exists():
            make_key(path)
        return load_identity(str(path))
    identity = load_identity(identity_file)
    if identity.key.get_name() not in _KINDS:
        raise AuthFailed(
            f"Colab takes Ed25519 and ECDSA keys, but {identity.name} is "
            f"{identity.key.get_name()}",
            "remove `identity_file` from [link] (a key is made then), or make one "
            "with `ssh-keygen -t ed25519`",
        )
    return identity


def public_line(key: paramiko.PKey) -> str:
    """As in authorized_keys, without a comment."""
    return f"{key.get_name()} {key.get_base64()}"


def make_key(path: Path) -> None:
    """An Ed25519 key for us alone, and its public half beside it. ConfigError."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent)  # for us alone
        with os.fdopen(handle, "wb") as file:
            file.write(private)
        line = public_line(paramiko.PKey.from_path(temporary))
        path.with_suffix(".pub").write_text(line + " colab-devsync\n", "utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise ConfigError(
            f"cannot write the key {path}: {error.strerror}",
            "name a key of yours with `identity_file` in [link]",
        ) from error
