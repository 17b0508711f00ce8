"""Connect strings: what a notebook prints and a person pastes. Pure.

`ssh -p 12345 root@0.tcp.example.com`, `ssh -J me@vps -p 10022 root@localhost`,
`tcp://0.tcp.example.com:12345`, `root@203.0.113.7:2222`,
`devsync://root@203.0.113.7:2222?hk=SHA256:…`, and through a relay
`devsync://root@localhost:10022?via=me@vps.example.com:22&hk=SHA256:…`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import SplitResult, unquote, urlsplit

from ..errors import ConfigError
from .config import LinkConfig
from .config.formats import HOST, HOST_KEY, RELAY

SCHEME = "devsync"
_EXAMPLE = (
    "Paste a line like `ssh -p 12345 root@203.0.113.7`, or the whole `devsync://…` "
    "line that the notebook shows."
)
_RELAY_PARTS = r"(?:([^@]+)@)?(?:\[([^\]]+)\]|([^:@]+))(?::([0-9]+))?"
_VALUED = "BbcDEeFIiJLlmOoPpQRSWw"  # options of ssh that take a value


def apply_endpoint(link: LinkConfig, text: str) -> LinkConfig:
    """The link that `text` describes; the rest stays as configured. ConfigError."""
    text = text.strip()
    scheme, _, rest = text.partition("://")
    if rest and scheme in (SCHEME, "tcp", "ssh"):
        return _from_url(link, text)
    words = _words(text)
    if words and words[0] == "ssh":
        return _from_ssh(link, words[1:], text)
    if len(words) == 1:
        return _direct(link, words[0], None, text)
    raise _not_understood(text)


def leads_alike(one: LinkConfig, other: LinkConfig) -> bool:
    """Whether both lead to the same place. Who logs in, and with what, is not asked."""
    return _way(one) == _way(other)


def _way(link: LinkConfig) -> tuple[object, ...]:
    return (
        link.provider,
        link.host,
        link.port,
        link.relay,
        link.session,
        link.proxy_command,
        link.api_key_env,
    )


def split_relay(relay: str) -> tuple[str | None, str, int]:
    """User (if named), host and port (22 if not named) of `[link] relay`, which the
    configuration has found well-formed."""
    found = re.fullmatch(_RELAY_PARTS, relay)
    assert found is not None
    user, address, name, port = found.groups()
    return user, address or name, int(port or 22)


def relay_machine(relay: str) -> str:
    """The relay's name in the pinned host keys."""
    _, host, port = split_relay(relay)
    return f"{host}:{port}"


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as exc:
        raise _not_understood(text) from exc


def _not_understood(text: str) -> ConfigError:
    return ConfigError(f"The connect string is not understood: {text!r}.", _EXAMPLE)


@dataclass
class _SshLine:
    """What matters of an ssh command line."""

    host: str | None = None
    port: str | None = None
    user: str | None = None
    identity: str | None = None
    jump: str | None = None

    def take(self, letter: str, value: str) -> None:
        name, _, rest = value.replace("=", " ", 1).partition(" ")
        if letter == "o":
            keys = {"port": "p", "user": "l", "identityfile": "i", "proxyjump": "J"}
            letter, value = keys.get(name.lower(), ""), rest.strip()
        if letter == "p":
            self.port = value
        elif letter == "l":
            self.user = value
        elif letter == "i":
            self.identity = value
        elif letter == "J":
            self.jump = value


def _from_ssh(link: LinkConfig, words: list[str], text: str) -> LinkConfig:
    line = _SshLine()
    rest = iter(words)
    for word in rest:
        if word.startswith("-") and len(word) > 1:
            _option(line, word[1:], rest)
        elif line.host is not None:
            break  # what follows would be a command
        else:
            line.host = word  # ssh takes options behind the host, too
    if line.host is None:
        raise _not_understood(text)
    found = _direct(link, line.host, line.port, text)
    found = replace(
        found,
        user=line.user or found.user,
        identity_file=line.identity or link.identity_file,
    )
    return found if line.jump is None else _through(found, line.jump, text)


def _option(line: _SshLine, letters: str, rest: Iterator[str]) -> None:
    """One word of options: flags may stand together, as in -NTp 99."""
    for index, letter in enumerate(letters):
        if letter in _VALUED:
            value = letters[index + 1 :] or next(rest, "")
            line.take(letter, value)
            return


def _direct(link: LinkConfig, where: str, port: str | None, text: str) -> LinkConfig:
    user, at, host = where.rpartition("@")
    bracketed = re.fullmatch(r"\[(.*)\](?::(.*))?", host)
    if bracketed is not None:
        host, port = bracketed[1], bracketed[2] or port
    elif not port and host.count(":") == 1:
        host, _, port = host.partition(":")
    if not HOST.accepts(host) or (at and not user) or not _is_port(port or "22"):
        raise _not_understood(text)
    return replace(
        link,
        provider="direct",
        host=host,
        port=int(port or 22),
        user=user if at else link.user,
    )


def _is_port(port: str) -> bool:
    return port.isascii() and port.isdecimal() and 0 < int(port) < 65536


def _through(direct: LinkConfig, relay: str, text: str) -> LinkConfig:
    """The same machine, as the relay sees it."""
    if not RELAY.accepts(relay):
        raise ConfigError(
            f"The relay {relay!r} in the connect string is not understood: {text!r}.",
            "It names one SSH server, as in `via=me@vps.example.com:22`.",
        )
    return replace(direct, provider="relay", relay=relay)


def _from_url(link: LinkConfig, text: str) -> LinkConfig:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise _not_understood(text) from exc
    if not HOST.accepts(host or "") or port == 0:
        raise _not_understood(text)
    query = _query(parts)
    found = replace(
        link,
        provider="direct",
        host=host,
        port=port or 22,
        user=unquote(parts.username or "") or link.user,
        host_key=_pin(query["hk"], text) if "hk" in query else link.host_key,
    )
    return _through(found, query["via"], text) if "via" in query else found


def _query(parts: SplitResult) -> dict[str, str]:
    """Not parse_qs: a fingerprint is base64, and its "+" is no space."""
    pairs = (pair.partition("=") for pair in parts.query.split("&") if pair)
    return {name: unquote(value) for name, _, value in pairs}


def checked_pin(option: str, value: str | None) -> str | None:
    """A fingerprint that was given as an option. ConfigError."""
    if value is None or HOST_KEY.accepts(value):
        return value
    raise ConfigError(
        f"{option} is no fingerprint of a host key: {value!r}.",
        "It is `SHA256:` and 43 characters, as `ssh-keygen -lf` shows it.",
    )


def _pin(value: str, text: str) -> str:
    start = value.find("SHA256:")  # some print the key's type before it
    pin = value[max(start, 0) :]
    if not HOST_KEY.accepts(pin):
        raise ConfigError(
            f"The host key in the connect string is not complete: {text!r}.",
            "Paste the whole line: `hk=SHA256:` has 43 characters behind it.",
        )
    return pin
