"""The steps of `doctor` before SSH: what each provider needs, name, TCP.

Each yields what it finds and stops at the first broken step: what lies behind it cannot
be said yet. They connect and hang up, and never log in.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from ..core.config import Config
from ..core.config.schema_link import LinkConfig
from ..core.endpoint import split_relay
from ..errors import DevsyncError
from .check import Check, failed

_TCP_TIMEOUT_S = 10.0
_TERMS = (
    "Google's FAQ lists SSH shells and other remote control among what gets a runtime "
    "without a positive compute-unit balance terminated without warning"
)
_TUNNELS = (
    ", and connecting to remote proxies among what no managed runtime may do, which "
    "a tunnel may well be; accounts have been blocked"
)
_READ = (
    "Read https://research.google.com/colaboratory/faq.html and decide for yourself; "
    "nothing here keeps a runtime alive by tricks."
)


def way_to(config: Config, root: Path) -> Iterator[Check]:
    """All steps before SSH."""
    link = config.link
    yield from terms(link)
    if link.identity_file is not None:
        key = _identity(root, link.identity_file)
        yield key
        if key.ok is False:
            return
    elif link.provider not in ("colab", "sandbox"):  # these have keys of their own
        key = _keys()
        yield key
        if key.ok is False:
            return
    yield from _WAYS[link.provider](link, config)


def terms(link: LinkConfig) -> Iterator[Check]:
    """Plain words on what Colab allows, for links that lead to Colab."""
    if link.provider == "colab":
        yield Check("terms", None, f"{_TERMS}.", _READ)
    elif link.provider != "sandbox":
        yield Check("terms", None, f"If the VM is Colab's: {_TERMS}{_TUNNELS}.", _READ)


def _identity(root: Path, name: str) -> Check:
    path = root / os.path.expanduser(name)
    if not path.is_file():
        return Check(
            "key",
            False,
            f"link.identity_file names {path}, which does not exist.",
            f"Correct it, or make a key: `ssh-keygen -t ed25519 -f {path}`.",
        )
    if sys.platform != "win32" and path.stat().st_mode & 0o077:
        return Check(
            "key",
            False,
            f"{path} can be read by others, so SSH programs refuse it.",
            f"`chmod 600 {path}`",
        )
    return Check("key", True, f"{path}")


def _keys() -> Check:
    from ..link.keys import identities

    try:
        with identities(None, Path.home()) as found:
            return Check("key", True, ", ".join(one.name for one in found))
    except DevsyncError as error:
        return failed("key", error)


def _direct(link: LinkConfig, config: Config) -> Iterator[Check]:
    hint = "Is the VM running, and are [link] host and port those it shows now?"
    if link.host is not None:
        yield from _tcp(link.host, link.port, hint)


def _relay(link: LinkConfig, config: Config) -> Iterator[Check]:
    if link.relay is None:
        return
    _, host, port = split_relay(link.relay)
    yield from _tcp(
        host,
        port,
        "That is your relay; the VM has no part in it. Is `relay` in [link] right, "
        "and does that server run?",
        prefix="relay ",
    )


def _command(link: LinkConfig, config: Config) -> Iterator[Check]:
    program = link.proxy_command[0] if link.proxy_command else ""
    found = shutil.which(program)
    yield Check(
        "command",
        found is not None,
        found or f"There is no program {program!r} on the daemon's PATH.",
        "" if found else "Install it, or write its full path into `proxy_command`.",
    )


def _ngrok(link: LinkConfig, config: Config) -> Iterator[Check]:
    from ..link.ngrok import FREE, find

    names = [name for name in (config.profile, config.name) if name]
    yield Check("plan", None, FREE + ".")
    try:
        host, port = find(names, link.api_key_env, _TCP_TIMEOUT_S)
    except DevsyncError as error:
        yield failed("endpoint", error)
        return
    yield Check("endpoint", True, f"ngrok says that the VM is at {host}:{port}")
    yield from _tcp(host, port, "The tunnel has just gone, or a quota is used up.")


def _colab(link: LinkConfig, config: Config) -> Iterator[Check]:
    from ..link.colab import cli
    from ..link.colab.store import choose, not_there, read_sessions, sessions_file

    argv = cli.command()
    yield Check(
        "colab command",
        None if argv is None else True,
        "Google's `colab` command: " + (" ".join(argv) if argv else "not found"),
        "" if argv else f"Without it tokens end after an hour; {cli.INSTALL}.",
    )
    try:
        sessions = read_sessions(sessions_file())
    except DevsyncError as error:
        yield failed("sessions", error)
        return
    now = time.time()
    shown = [
        f"{one.name} ({one.hardware}, {one.endpoint}, {_until(one.expires_at, now)})"
        for one in sessions.values()
    ]
    yield Check("sessions", True if shown else None, ", ".join(shown) or "none known")
    session = choose(sessions, link.session)
    if session is None:
        if not cli.can_list():
            yield failed("session", not_there(sessions, link.session))
        return  # it may be one that was opened in the browser
    parts = urlsplit(session.url)
    if getproxies().get("https") and parts.scheme == "https":
        yield Check("reach", None, "goes through the HTTP proxy of this environment")
        return
    port = parts.port or (80 if parts.scheme == "http" else 443)
    hint = "`colab sessions` says whether the runtime is alive; check your network."
    yield from _tcp(parts.hostname or "", port, hint)


def _until(expires_at: float | None, now: float) -> str:
    if expires_at is None:
        return "token of unknown age"
    left = (expires_at - now) / 60
    return f"token good for {left:.0f} min" if left > 0 else "token expired"


def _sandbox(link: LinkConfig, config: Config) -> Iterator[Check]:
    return iter(())


_WAYS: Mapping[str, Callable[[LinkConfig, Config], Iterator[Check]]] = {
    "colab": _colab,
    "relay": _relay,
    "ngrok": _ngrok,
    "direct": _direct,
    "command": _command,
    "sandbox": _sandbox,
}


def _tcp(host: str, port: int, hint: str, prefix: str = "") -> Iterator[Check]:
    """First the name, then the port."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # no name that DNS could have
        yield Check(
            f"{prefix}name",
            False,
            f"{host} is not found: {getattr(error, 'strerror', error)}.",
            f"Check the spelling and your network. {hint}",
        )
        return
    addresses = sorted({str(one[4][0]) for one in found})
    if addresses != [host]:
        yield Check(f"{prefix}name", True, f"{host} is {', '.join(addresses)}")
    try:
        socket.create_connection((host, port), _TCP_TIMEOUT_S).close()
    except OSError as error:
        yield Check(
            f"{prefix}reach",
            False,
            f"{host}:{port} does not accept connections: {error.strerror or error}.",
            hint,
        )
        return
    yield Check(f"{prefix}reach", True, f"{host}:{port} accepts connections")
