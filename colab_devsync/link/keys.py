"""Which keys to try, in which order, and clear words when a key can't be used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm

from ..errors import AuthFailed, ConfigError

_USUAL = ("id_ed25519", "id_ecdsa", "id_rsa")


@dataclass(frozen=True)
class Identity:
    """A private key (or the agent's handle of one) and its name for people."""

    name: str
    key: paramiko.PKey
    configured_file: str | None = None  # somebody named it: it is the only one to try


@contextmanager
def identities(identity_file: str | None, home: Path) -> Iterator[tuple[Identity, ...]]:
    """The configured key alone; else the agent's keys, then the usual files. The
    agent's keys work until the context ends.

    ConfigError: the configured file is missing or no private key. AuthFailed: it is
    encrypted, or there is no key at all.
    """
    if identity_file is not None:
        yield (load_identity(identity_file),)
        return
    with _agent_keys() as held:
        found = (*held, *_usual_files(home / ".ssh"))
        if not found:
            raise AuthFailed(
                "no SSH key found: ssh-agent offers none, and "
                f"{home / '.ssh'} has no usable {', '.join(_USUAL)}",
                "make one with `ssh-keygen -t ed25519`, or set `identity_file` in "
                "[link]",
            )
        yield found


def load_identity(identity_file: str) -> Identity:
    """The private key in this file. ConfigError, AuthFailed (a passphrase)."""
    path = Path(identity_file).expanduser()
    try:
        key = paramiko.PKey.from_path(path)
        return Identity(str(path), key, configured_file=str(path.absolute()))
    except FileNotFoundError as error:
        raise ConfigError(
            f"the key file {path} does not exist",
            "correct `identity_file` in [link], or make the key with `ssh-keygen`",
        ) from error
    except OSError as error:
        raise ConfigError(
            f"cannot read the key file {path}: {error.strerror}",
            "check its owner and permissions",
        ) from error
    except (TypeError, paramiko.PasswordRequiredException) as error:
        raise AuthFailed(
            f"the key {path} is protected by a passphrase",
            f"run `ssh-add {path}` and remove `identity_file` from [link]: "
            "keys in ssh-agent are found by themselves",
        ) from error
    except (ValueError, UnsupportedAlgorithm, paramiko.SSHException) as error:
        raise ConfigError(
            f"{path} holds no private key that can be used",
            "name the private key, not the .pub file",
        ) from error


@contextmanager
def _agent_keys() -> Iterator[tuple[Identity, ...]]:
    try:
        agent = paramiko.Agent()
    except (paramiko.SSHException, OSError):
        yield ()  # a stale agent socket is as good as no agent
        return
    try:
        yield tuple(
            Identity(
                f"{getattr(key, 'comment', '') or key.get_name()} (ssh-agent)", key
            )
            for key in agent.get_keys()
        )
    finally:
        agent.close()


def _usual_files(folder: Path) -> Iterator[Identity]:
    for name in _USUAL:
        path = folder / name
        if not path.is_file():
            continue
        try:
            yield Identity(str(path), paramiko.PKey.from_path(path))
        except (
            OSError,
            TypeError,
            ValueError,
            UnsupportedAlgorithm,
            paramiko.SSHException,
        ):
            continue  # encrypted or foreign: the agent is the place for it
