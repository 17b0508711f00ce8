"""Writes the notebook (or its plain script) of a project's link to a file.

Reads the program in `bootstrap/`, the configuration and public keys. Never overwrites
a file without a yes. Any thread; no network.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..core import notebook as compose
from ..core.config import Config, LinkConfig
from ..core.endpoint import relay_machine
from ..core.notebook import PARTS
from ..engine.places import project_state_dir
from ..engine.project import load_project
from ..errors import ConfigError, DevsyncError

DEFAULT_NAME = "colab-devsync.ipynb"
_SOURCES = Path(__file__).resolve().parent.parent / "bootstrap"
_PUBLIC_KEY = re.compile(r"(?:ssh|ecdsa|sk)-\S+ AAAA[A-Za-z0-9+/]+={0,3}(?: .*)?")
_PUBLIC = ("id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub")


@dataclass(frozen=True)
class Choices:
    """What can be said beside the configuration; all of it may be left out."""

    public_key: str | None = None  # a .pub file, or the line itself
    relay_user: str | None = None
    relay_host_key: str | None = None


@dataclass(frozen=True)
class Written:
    """What was done. `changed` False: the file had these very bytes."""

    path: Path
    provider: str
    changed: bool
    notes: tuple[str, ...] = field(default=())  # what a person should still do or know

    def as_json(self) -> dict[str, object]:
        return {
            "path": str(self.path),
            "provider": self.provider,
            "changed": self.changed,
            "notes": list(self.notes),
        }


def write_notebook(
    root: Path,
    profile: str | None,
    output: Path | None,
    *,
    overwrite: Callable[[Path], bool],
    choices: Choices = Choices(),
) -> Written:
    """Asks `overwrite` before another file's bytes are lost. ConfigError."""
    config = load_project(root, profile)
    path = root / (output or DEFAULT_NAME)
    is_colab = config.link.provider == "colab"  # Google's endpoint asks for the key
    keys = [] if is_colab else find_public_keys(config.link, choices.public_key)
    host_key = choices.relay_host_key or pinned_relay_key(root, config, profile)
    values = compose.values_of(
        config,
        public_keys=keys,
        relay_user=choices.relay_user,
        relay_host_key=host_key or "",
    )
    make = compose.script if path.suffix == ".py" else compose.notebook
    changed = _write(path, make(program_sources(), values), overwrite)
    return Written(
        path, config.link.provider, changed, tuple(_notes(config, keys, host_key))
    )


def program_sources() -> dict[str, str]:
    """The modules of `bootstrap/`, as the package carries them."""
    return {
        name: (_SOURCES / f"{name}.py").read_text(encoding="utf-8") for name in PARTS
    }


def pinned_relay_key(root: Path, config: Config, profile: str | None) -> str | None:
    """The relay's host key, if somebody here has said yes to it."""
    if config.link.provider != "relay" or not config.link.relay:
        return None
    from ..link.hostkeys import pins_of

    pins = pins_of(project_state_dir(root, profile))
    pin = pins.get(profile, relay_machine(config.link.relay))
    return pin.fingerprint if pin is not None else None


def find_public_keys(link: LinkConfig | None, given: str | None) -> list[str]:
    """The keys that `connect` will try, as far as they can be known without asking.
    `given`: a file or a line that somebody named. ConfigError."""
    if given:
        return [_given_key(given)]
    identity = None if link is None else link.identity_file
    if identity is not None:
        return _public_files([Path(f"{identity}.pub").expanduser()])
    folder = Path.home() / ".ssh"
    found = _public_files([folder / name for name in _PUBLIC])
    return found or _loaded_keys(identity)


def _public_files(paths: list[Path]) -> list[str]:
    lines = [_line(path) for path in paths if path.is_file()]
    return [line for line in lines if _PUBLIC_KEY.fullmatch(line)]


def _line(path: Path) -> str:
    try:
        return " ".join(path.read_text("utf-8-sig", "replace").split())
    except OSError as error:
        raise ConfigError(
            f"Cannot read the key {path}: {error.strerror or error}.",
            "Check its owner and permissions.",
        ) from error


def _loaded_keys(identity: str | None) -> list[str]:
    """From the SSH agent, and private keys without a .pub file beside them."""
    from ..link.keys import identities

    try:
        with identities(identity, Path.home()) as keys:
            return [f"{one.key.get_name()} {one.key.get_base64()}" for one in keys]
    except DevsyncError:
        return []  # the notebook says that a key must be pasted


def _given_key(text: str) -> str:
    path = os.path.expanduser(text)
    is_file = os.path.isfile(path)  # a line is longer than what Path takes for a name
    line = _line(Path(path)) if is_file else " ".join(text.split())
    if not _PUBLIC_KEY.fullmatch(line):
        raise ConfigError(
            f"{text[:60]!r} is no public key.",
            "Give the .pub file, or its one line: ssh-ed25519 AAAA...",
        )
    return line


def _notes(config: Config, keys: list[str], host_key: str | None) -> list[str]:
    provider, notes = config.link.provider, []
    if provider == "colab":
        return [
            "The link `colab` needs no notebook: `colab-devsync connect` goes through "
            "Google's own SSH endpoint. This one only shows GPU, runs and files."
        ]
    if not keys:
        notes.append(
            "No public key of yours was found: paste it into the form, or make one "
            "with `ssh-keygen -t ed25519` and write the notebook again."
        )
    if provider == "relay" and not host_key:
        notes.append(
            "The relay's host key is not known here yet: `colab-devsync relay check` "
            "asks for it; write the notebook again then, or fill in the form."
        )
    return notes


def _write(path: Path, text: str, overwrite: Callable[[Path], bool]) -> bool:
    data = text.encode("utf-8")
    try:
        if path.exists():
            if path.read_bytes() == data:
                return False
            if not overwrite(path):
                raise ConfigError(
                    f"{path} exists already and differs; nothing was written.",
                    "Say yes when asked, add --force, or choose another file.",
                )
        temporary = path.with_name(f".{path.name}.new-{os.getpid()}")
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise ConfigError(
            f"Cannot write {path}: {error.strerror or error}.",
            "Choose a folder that exists and that you may write to.",
        ) from error
    return True
