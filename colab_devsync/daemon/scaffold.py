"""Writes a new project's `.colabremote.toml`. Never overwrites one.

Any thread; touches one file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.config import CONFIG_NAME
from ..errors import ConfigError

PROVIDERS = ("direct", "sandbox")

KEYS: Mapping[str, type] = {
    "provider": str,
    "name": str,
    "host": str,
    "port": int,
    "user": str,
    "identity_file": str,
    "remote_root": str,
}
"""What can be chosen when the file is made; all of it may be left out."""

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
    """The path of the new file. ConfigError if there is one, or it can't be made."""
    path = folder / CONFIG_NAME
    text = render(chosen)
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
    if provider == "direct" and not chosen.get("host"):
        raise ConfigError(
            "The link provider `direct` needs a host.",
            "Give the VM's host name or address, and the port if it is not 22.",
        )
    name = chosen.get("name")
    head = f"name = {quote(name)}" if name else '# name = "..."     # default: folder'
    link = _LINK[provider].format(
        host=quote(chosen.get("host") or ""),
        port=chosen.get("port") or 22,
        user=quote(chosen.get("user") or "root"),
        identity_file=_line("identity_file", chosen, "~/.ssh/id_ed25519"),
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


def _line(key: str, chosen: Mapping[str, Any], example: str) -> str:
    value = chosen.get(key)
    if value:
        return f"{key} = {quote(value)}"
    return f"# {key} = {quote(example)}   # default: SSH agent and the usual files"


def _root_line(value: str | None) -> str:
    if value:
        return f"root = {quote(value)}"
    return '# root = "/content/NAME"           # default: /content/<name>'
