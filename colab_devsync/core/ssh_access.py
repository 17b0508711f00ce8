"""How plain `ssh` reaches a project's VM: values and names. Any thread."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class SshAccess:
    """What an ssh_config block needs. Paths are absolute and local."""

    alias: str
    folder: str  # the project's
    profile: str | None
    port: int  # on 127.0.0.1
    user: str
    known_hosts: str  # holds the VM's host key under `alias`
    identity_file: str | None = None  # None: the agent's keys or the usual files

    def as_json(self) -> dict[str, Any]:
        """The result of `devsync.sshConfig`."""
        body = {"host": "127.0.0.1", **asdict(self)}
        body["knownHosts"] = body.pop("known_hosts")
        body["identityFile"] = body.pop("identity_file")
        return {key: value for key, value in body.items() if value is not None}


def alias_of(name: str, profile: str | None) -> str:
    """`colab-NAME`, and `colab-NAME-PROFILE` for a profile."""
    return f"colab-{name}-{profile}" if profile else f"colab-{name}"
