"""Reads OpenSSH's known_hosts: who has logged in to a server before has vouched for it.

Only entries for exactly this name and port count; certificate authorities, revoked keys
and wildcards do not. A file that is missing or damaged vouches for nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path

from .hostkeys import HostKey


def known_keys(path: Path, host: str, port: int) -> tuple[HostKey, ...]:
    """The keys that `path` has for this server, which can be one of each kind."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    name = host if port == 22 else f"[{host}]:{port}"
    return tuple(_matching(text, name.lower()))


def _matching(text: str, name: str) -> Iterator[HostKey]:
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 3 or fields[0][0] in "#@":
            continue
        hosts, kind, blob = fields[:3]
        if not any(_is(host, name) for host in hosts.split(",")):
            continue
        try:
            digest = hashlib.sha256(base64.b64decode(blob, validate=True)).digest()
        except ValueError:
            continue
        shown = base64.b64encode(digest).decode().rstrip("=")
        yield HostKey(kind, f"SHA256:{shown}")


def _is(entry: str, name: str) -> bool:
    if not entry.startswith("|1|"):
        return entry.lower() == name
    _, _, salt, digest = (*entry.split("|"), "", "")[:4]
    try:
        key, wanted = base64.b64decode(salt), base64.b64decode(digest)
    except ValueError:
        return False
    found = hmac.new(key, name.encode(), hashlib.sha1).digest()
    return hmac.compare_digest(found, wanted)
