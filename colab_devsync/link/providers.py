"""Chooses the way in to the VM that the configuration names."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ..core.config import LinkConfig
from ..errors import ConfigError
from .base import Link

AVAILABLE = ("direct", "sandbox")


class OpenLink(Protocol):
    """What `open_link` looks like to those who are given one."""

    def __call__(
        self,
        link: LinkConfig,
        *,
        profile: str | None,
        state_dir: Path,
        cache_dir: Path,
        name: str,
    ) -> Link: ...


def open_link(
    link: LinkConfig,
    *,
    profile: str | None,
    state_dir: Path,
    cache_dir: Path,
    name: str,
) -> Link:
    """The link of one project; nothing is started or connected yet.

    `state_dir` keeps the pinned host keys, `cache_dir` the sandbox's VM of project
    `name`. ConfigError: the provider does not exist in this version, or lacks a key.
    """
    # imported late: paramiko costs 0.25 s, and a wrong configuration should not
    if link.provider == "sandbox":
        from .sandbox.link import SandboxLink, SandboxSpec

        spec = SandboxSpec(
            cache_dir / "sandbox" / name,
            rtt_ms=link.rtt_ms,
            bandwidth=link.bandwidth,
            drop_after=link.drop_after,
        )
        return SandboxLink(spec)
    if link.provider == "direct":
        from .direct import DirectLink
        from .hostkeys import Trust, pins_of
        from .ssh import Endpoint

        if link.host is None:
            raise ConfigError(
                '[link] provider = "direct" needs `host`',
                "add the name or address of the VM's SSH server",
            )
        endpoint = Endpoint(link.user, link.host, link.port)
        trust = Trust(pins_of(state_dir), profile, endpoint.machine, link.host_key)
        return DirectLink(endpoint, trust, link.identity_file)
    raise ConfigError(
        f'[link] provider = "{link.provider}" is not available in this version',
        f"the providers that work are: {', '.join(AVAILABLE)}",
    )
