"""Writes a new project's `.colabremote.toml`. Never overwrites one.

Any thread; touches one file.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.config import CONFIG_NAME, InvalidConfig, check_config
from ..errors import ConfigError

PROVIDERS = ("direct", "relay", "colab", "ngrok", "command", "sandbox")

KEYS: Mapping[str, type] = {
    "provider": str,
    "name": str,
    "host": str,
    "relay": str,
    "session": str,
    "proxy_command": str,
    "port": int,
    "user": str,
    "identity_file": str,
    "remote_root": str,
}
"""What can be chosen when the file is made; all of it may be left out."""

_OF_LINK = KEYS.keys() - {"provider", "name", "remote_root"}
_NEEDS = {"direct": "host", "relay": "relay", "command": "proxy_command"}
_SAID = {
    "host": (
        "host",
        "Give the VM's host name or address, and the port if it is not 22.",
    ),
    "relay": ("relay", "Name your server, as in me@vps.example.com:22."),
    "proxy_command": ("command", "Give its command line, as in `tailscale nc vm 22`."),
}

_LINK = {
    "direct": """\
[link]
provider = "direct"                # any SSH server you can reach: host and port
host = {host}
port = {port}
user = {user}
{identity_file}
# host_key = "SHA256:..."          # optional pin; otherwise you are asked once
""",
    "relay": """\
[link]
provider = "relay"                 # your own server; `colab-devsync relay setup`
relay = {relay}
port = {port}                       # where it listens for the VM
user = {user}
{identity_file}
""",
    "colab": """\
[link]
provider = "colab"                 # Google's own SSH endpoint
{session}
{identity_file}
""",
    "ngrok": """\
[link]
provider = "ngrok"                 # its endpoint is found through ngrok's API
# api_key_env = "NGROK_API_KEY"    # the variable that holds the API key
user = {user}
{identity_file}
""",
    "command": """\
[link]
provider = "command"               # a program that speaks SSH on stdin and stdout
proxy_command = {proxy_command}
user = {user}
{identity_file}
""",
    "sandbox": """\
[link]
provider = "sandbox"               # a folder on this machine plays the VM
# rtt_ms = 50                      # pretend to be far away
""",
}

_REST = """\

[remote]
{remote_root}
# python = "python3"
# env = {{ WANDB_MODE = "offline" }}

[sync]
# mode = "mirror"                  # what exists only on the VM is never touched
# exclude = ["data/", "*.ckpt"]    # gitignore syntax; .gitignore is honoured as well
# max_file_size = "100MB"

[run]
# entry = "train.py"
# args = ["--epochs", "1"]
"""


def write_new(folder: Path, chosen: Mapping[str, Any]) -> Path:
    """The path of the new file. ConfigError if there is one, or it can't be made, or
    what was chosen can't be."""
    path = folder / CONFIG_NAME
    _check_wanted(chosen)
    text = render(chosen)
    problems = check_config(text)
    if problems:
        raise InvalidConfig(
            problems,
            source="what was chosen",
            hint="Nothing was written; choose again.",
        )
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError as exc:
        raise ConfigError(
            f"{path} exists already; nothing was written.",
            "Edit it, or remove it first.",
        ) from exc
    except OSError as exc:
        raise ConfigError(
            f"Cannot write {path}: {exc.strerror or exc}.",
            "Choose a folder that exists and that you may write to.",
        ) from exc
    return path


def render(chosen: Mapping[str, Any]) -> str:
    """The text of a valid, commented configuration. ConfigError for bad choices."""
    provider = chosen.get("provider") or "direct"
    if provider not in PROVIDERS:
        raise ConfigError(
            f"There is no link provider {provider!r} to start with.",
            f"Choose one of: {', '.join(PROVIDERS)}.",
        )
    _check_needs(provider, chosen)
    name = chosen.get("name")
    head = f"name = {quote(name)}" if name else '# name = "..."     # default: folder'
    link = _LINK[provider].format(
        host=quote(chosen.get("host") or ""),
        port=chosen.get("port") or (10022 if provider == "relay" else 22),
        relay=quote(chosen.get("relay") or ""),
        session=_line("session", chosen, "train", "the only session there is"),
        proxy_command=_list(chosen.get("proxy_command") or ""),
        user=quote(chosen.get("user") or "root"),
        identity_file=_line(
            "identity_file",
            chosen,
            "~/.ssh/id_ed25519",
            "SSH agent and the usual files",
        ),
    )
    rest = _REST.format(remote_root=_root_line(chosen.get("remote_root")))
    return f"# colab-devsync: how this project reaches its VM.\n{head}\n\n{link}{rest}"


def quote(text: str) -> str:
    """A TOML basic string."""
    out = []
    for char in text:
        if char in '"\\':
            out.append("\\" + char)
        elif ord(char) < 0x20 or ord(char) == 0x7F:
            out.append(f"\\u{ord(char):04x}")
        else:
            out.append(char)
    return '"' + "".join(out) + '"'


def _check_needs(provider: str, chosen: Mapping[str, Any]) -> None:
    """ConfigError."""
    key = _NEEDS.get(provider)
    if key is None or chosen.get(key):
        return
    what, hint = _SAID[key]
    raise ConfigError(f"The link provider `{provider}` needs a {what}.", hint)


def _check_wanted(chosen: Mapping[str, Any]) -> None:
    """ConfigError: something was chosen that this provider has no use for."""
    provider = chosen.get("provider") or "direct"
    for key in sorted(_OF_LINK):
        takers = [name for name, text in _LINK.items() if f"{{{key}}}" in text]
        if chosen.get(key) is not None and provider not in takers:
            raise ConfigError(
                f"The link provider `{provider}` has no use for `{key}`.",
                f"Leave it out; it belongs to {', '.join(takers)}.",
            )


def _line(key: str, chosen: Mapping[str, Any], example: str, default: str) -> str:
    value = chosen.get(key)
    if value:
        return f"{key} = {quote(value)}"
    return f"# {key} = {quote(example)}   # default: {default}"


def _list(command: str) -> str:
    """A command line as a TOML list of words. ConfigError."""
    try:
        words = shlex.split(command)
    except ValueError as exc:
        raise ConfigError(
            f"The command is not understood: {command!r} ({exc}).",
            "Write it as in a terminal; words with spaces in quotes.",
        ) from exc
    return "[" + ", ".join(map(quote, words)) + "]"


def _root_line(value: str | None) -> str:
    if value:
        return f"root = {quote(value)}"
    return '# root = "/content/NAME"           # default: /content/<name>'
