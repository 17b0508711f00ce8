"""Chooses the way in to the VM that the configuration names."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..core.config import LinkConfig
from ..core.endpoint import split_relay
from ..errors import ConfigError
from .base import Link

if TYPE_CHECKING:
    from .hostkeys import Pins, Trust


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
    `name`. ConfigError: the provider lacks a key.
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
    from .hostkeys import pins_of

    known = Known(pins_of(state_dir), profile, state_dir, name)
    return _OPENERS[link.provider](link, known)


@dataclass(frozen=True)
class Known:
    """What is known about one project and profile, host keys above all."""

    pins: Pins
    profile: str | None
    state_dir: Path
    name: str  # the project's

    def trust(self, endpoint: str, configured: str | None) -> Trust:
        from .hostkeys import Trust

        return Trust(self.pins, self.profile, endpoint, configured)


def _direct(link: LinkConfig, known: Known) -> Link:
    from .direct import DirectLink
    from .ssh import Endpoint

    if link.host is None:
        raise ConfigError(
            '[link] provider = "direct" needs `host`',
            "add the name or address of the VM's SSH server",
        )
    endpoint = Endpoint(link.user, link.host, link.port)
    trust = known.trust(endpoint.machine, link.host_key)
    return DirectLink(endpoint, trust, link.identity_file)


def _relay(link: LinkConfig, known: Known) -> Link:
    from .known_hosts import known_keys
    from .relay import RelayLink
    from .ssh import Endpoint

    if link.relay is None:
        raise ConfigError(
            '[link] provider = "relay" needs `relay`',
            'name your server, as in relay = "me@vps.example.com:22"',
        )
    user, host, port = split_relay(link.relay)
    relay = Endpoint(user or getpass.getuser(), host, port)
    # literally "localhost": what sshd's permitopen compares with
    inner = link.host or "localhost"
    name = f"{inner}:{link.port} via {relay.machine}"
    vm = Endpoint(link.user, inner, link.port, name)
    met = known_keys(Path("~/.ssh/known_hosts").expanduser(), host, port)
    return RelayLink(
        relay,
        replace(known.trust(relay.machine, None), known=met, what="relay"),
        vm,
        known.trust(vm.machine, link.host_key),
        identity_file=link.identity_file,
    )


def _command(link: LinkConfig, known: Known) -> Link:
    from .command import CommandLink, command_name
    from .ssh import Endpoint

    if not link.proxy_command:
        raise ConfigError(
            '[link] provider = "command" needs `proxy_command`',
            'as in proxy_command = ["tailscale", "nc", "vm", "22"]',
        )
    endpoint = Endpoint(link.user, "", 0, command_name(link.proxy_command))
    trust = known.trust(endpoint.machine, link.host_key)
    return CommandLink(link.proxy_command, endpoint, trust, link.identity_file)


def _colab(link: LinkConfig, known: Known) -> Link:
    from .colab.link import ColabLink

    return ColabLink(
        link.session,
        link.user,
        (known.pins, known.profile),
        link.host_key,
        identity_file=link.identity_file,
        state_dir=known.state_dir,
    )


def _ngrok(link: LinkConfig, known: Known) -> Link:
    from .ngrok import NgrokLink

    names = (known.profile, known.name) if known.profile else (known.name,)
    return NgrokLink(
        names,
        link.user,
        lambda endpoint: known.trust(endpoint, link.host_key),
        api_key_env=link.api_key_env,
        identity_file=link.identity_file,
    )


_OPENERS: Mapping[str, Callable[[LinkConfig, Known], Link]] = {
    "colab": _colab,
    "direct": _direct,
    "relay": _relay,
    "ngrok": _ngrok,
    "command": _command,
}
