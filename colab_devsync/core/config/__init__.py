"""The project's configuration: `.colabremote.toml`, read, checked and explained.

Pure: text in, frozen values or problems with positions out. Any thread; no I/O.
"""

from __future__ import annotations

from .load import check_config, load_config
from .problems import ConfigProblem, InvalidConfig
from .schema import (
    CONFIG_NAME,
    Config,
    DebugConfig,
    ForwardConfig,
    PullConfig,
    RemoteConfig,
    RunConfig,
    SshConfig,
    SyncConfig,
    TensorboardConfig,
)
from .schema_link import LinkConfig

__all__ = [
    "CONFIG_NAME",
    "Config",
    "ConfigProblem",
    "DebugConfig",
    "ForwardConfig",
    "InvalidConfig",
    "LinkConfig",
    "PullConfig",
    "RemoteConfig",
    "RunConfig",
    "SshConfig",
    "SyncConfig",
    "TensorboardConfig",
    "check_config",
    "load_config",
]
