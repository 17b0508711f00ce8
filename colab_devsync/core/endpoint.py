"""Connect strings: what a notebook prints and a person pastes. Pure.

`ssh -p 12345 root@0.tcp.example.com`, `root@203.0.113.7:2222`, or
`devsync://root@203.0.113.7:2222?hk=SHA256:…`.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

from ..errors import ConfigError
from .config import LinkConfig

SCHEME = "devsync"
_EXAMPLE = "Paste a line like `ssh -p 12345 root@203.0.113.7`."


def apply_endpoint(link: LinkConfig, text: str) -> LinkConfig:
    """The link that `text` describes; the rest stays as configured. ConfigError."""
    text = text.strip()
    if text.startswith(SCHEME + "://"):
        return _from_url(link, text)
    words = _words(text)
    if words and words[0] == "ssh":
        return _from_ssh(link, words[1:], text)
    if len(words) == 1:
        return _direct(link, words[0], None, text)
    raise _not_understood(text)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as exc:
        raise _not_understood(text) from exc


def _not_understood(text: str) -> ConfigError:
    return ConfigError(f"The connect string is not understood: {text!r}.", _EXAMPLE)


def _from_ssh(link: LinkConfig, words: list[str], text: str) -> LinkConfig:
    port, user, identity, host = None, None, None, None
    rest = iter(words)
    for word in rest:
        if word[:2] in ("-p", "-l", "-i", "-o"):
            value = word[2:] or next(rest, "")
            if word.startswith("-p"):
                port = value
            elif word.startswith("-l"):
                user = value
            elif word.startswith("-i"):
                identity = value
        elif not word.startswith("-"):
            if host is not None:
                break  # what follows would be a command
            host = word  # ssh takes options behind the host, too
    if host is None:
        raise _not_understood(text)
    found = _direct(link, host, port, text)
    return replace(
        found, user=user or found.user, identity_file=identity or link.identity_file
    )


def _direct(link: LinkConfig, where: str, port: str | None, text: str) -> LinkConfig:
    user, at, host = where.rpartition("@")
    if not port and host.count(":") == 1:
        host, _, port = host.partition(":")
    if not host or (port and not port.isdecimal()) or not 0 < int(port or 22) < 65536:
        raise _not_understood(text)
    return replace(
        link,
        provider="direct",
        host=host,
        port=int(port or 22),
        user=user if at else link.user,
    )


def _from_url(link: LinkConfig, text: str) -> LinkConfig:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port or 22
    except ValueError as exc:
        raise _not_understood(text) from exc
    query = parse_qs(parts.query)
    if not host:
        raise _not_understood(text)
    if "via" in query:
        raise ConfigError(
            "This connect string goes through a relay; this version has none yet.",
            "Use a `direct` link.",
        )
    pin = query.get("hk", [link.host_key])[0]
    return replace(
        link,
        provider="direct",
        host=host,
        port=port,
        user=parts.username or link.user,
        host_key=pin,
    )
