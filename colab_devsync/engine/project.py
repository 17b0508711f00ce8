"""The project folder and its `.colabremote.toml`, read from disk."""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from pathlib import Path

from ..core.config import CONFIG_NAME, Config, LinkConfig, load_config
from ..errors import ConfigError

# Every command reads the file, because it may have been edited; mostly it was not.
_parsed = functools.lru_cache(maxsize=16)(load_config)


def load_project(root: Path, profile: str | None) -> Config:
    """The project's configuration. ConfigError lists every problem."""
    path = root / CONFIG_NAME
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            f"There is no {CONFIG_NAME} in {root}.", "Run `colab-devsync init` there."
        ) from None
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path} is not UTF-8: {exc}.", "Save it as UTF-8.") from exc
    except OSError as exc:
        raise ConfigError(f"Cannot read {path}: {exc.strerror}.") from exc
    config = _parsed(text, folder_name=root.name, profile=profile, source=str(path))
    return replace(config, link=with_key_of(root, config.link))


def with_key_of(root: Path, link: LinkConfig) -> LinkConfig:
    """Its `identity_file` is relative to the project, wherever this process runs."""
    name = link.identity_file
    if name is None or Path(os.path.expanduser(name)).is_absolute():
        return link
    return replace(link, identity_file=str(root / name))
