"""The `[link]` table of the schema: its keys, types and sentences. Any thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from . import formats
from .formats import MAX_PORT, Key

Provider = Literal["colab", "relay", "ngrok", "direct", "command", "sandbox"]


@dataclass(frozen=True, kw_only=True)
class LinkConfig:
    """The way in to the VM."""

    provider: Annotated[
        Provider,
        Key(
            "How the VM is reached: `colab` is Google's own SSH endpoint, `relay` your "
            "own server, `ngrok` an ngrok TCP endpoint, `direct` a host and port, "
            "`command` any program that speaks SSH on its standard streams, `sandbox` "
            "a folder on this machine that plays the VM.",
            '"colab"',
        ),
    ] = "colab"
    session: Annotated[
        str | None,
        Key(
            "Session name of the official Colab command line tool.",
            '"train"',
            default="the only session there is",
            format=formats.TEXT,
            providers=("colab",),
        ),
    ] = None
    relay: Annotated[
        str | None,
        Key(
            "Your SSH server, which the VM connects to as well.",
            '"me@vps.example.com:22"',
            format=formats.RELAY,
            providers=("relay",),
        ),
    ] = None
    host: Annotated[
        str | None,
        Key(
            "Host name or address of the VM's SSH server.",
            '"203.0.113.7"',
            format=formats.HOST,
            providers=("direct",),
        ),
    ] = None
    port: Annotated[
        int,
        Key(
            "`direct`: port of the VM's SSH server. `relay`: port on which the relay "
            "listens for the VM.",
            "22",
            default="22; 10022 with `relay`",
            minimum=1,
            maximum=MAX_PORT,
            providers=("direct", "relay"),
        ),
    ] = 22
    api_key_env: Annotated[
        str,
        Key(
            "Name of the environment variable that holds the ngrok API key.",
            '"NGROK_API_KEY"',
            format=formats.VARIABLE,
            providers=("ngrok",),
        ),
    ] = "NGROK_API_KEY"
    proxy_command: Annotated[
        tuple[str, ...],
        Key(
            "Program and arguments; SSH is spoken over its standard streams. "
            "No shell is involved.",
            '["tailscale", "nc", "vm", "22"]',
            format=formats.ARGUMENT,
            providers=("command",),
        ),
    ] = ()
    user: Annotated[str, Key("User to log in as.", '"root"', format=formats.WORD)] = (
        "root"
    )
    identity_file: Annotated[
        str | None,
        Key(
            "Private key to log in with; relative to the project.",
            '"~/.ssh/id_ed25519"',
            default="the SSH agent and the usual files",
            format=formats.TEXT,
        ),
    ] = None
    host_key: Annotated[
        str | None,
        Key(
            "Fingerprint that the VM's host key must have.",
            '"SHA256:uNiVztksCsDhcc0u9e8BrYXiVx4fUYE6QJfX2e6JPj0"',
            default="asked once per VM",
            format=formats.HOST_KEY,
        ),
    ] = None
    rtt_ms: Annotated[
        float,
        Key(
            "Simulated round-trip time, in milliseconds.",
            "50",
            minimum=0,
            maximum=60_000,
            providers=("sandbox",),
        ),
    ] = 0.0
    bandwidth: Annotated[
        int,
        Key(
            "Simulated bandwidth, in bytes per second; 0 = no limit.",
            '"2MB"',
            format=formats.SIZE,
            minimum=0,
            providers=("sandbox",),
        ),
    ] = 0
    drop_after: Annotated[
        int,
        Key(
            "Drops each simulated connection after this many bytes; 0 = never.",
            '"10MB"',
            format=formats.SIZE,
            minimum=0,
            providers=("sandbox",),
        ),
    ] = 0
