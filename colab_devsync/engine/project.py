"""The project folder and its `.colabremote.toml`, read from disk."""

from __future__ import annotations

from pathlib import Path

from ..core.config import CONFIG_NAME, Config, load_config
from ..errors import ConfigError


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
    return load_config(text, folder_name=root.name, profile=profile, source=str(path))
