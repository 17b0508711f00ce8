"""The one definition of `.colabremote.toml`: its tables, keys, types and sentences.

The dataclasses are what the rest of the program reads. Validation, the JSON Schema
and the reference page are derived from them: a field's annotation is its type, its
default is the default, its `Key` holds the rest. Values only; any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from . import formats
from .formats import MAX_PORT, Key
from .schema_link import LinkConfig

CONFIG_NAME = ".colabremote.toml"


@dataclass(frozen=True, kw_only=True)
class RemoteConfig:
    """Where the project lives on the VM, and what runs it."""

    root: Annotated[
        str,
        Key(
            "The project's folder on the VM.",
            '"/content/segmentation"',
            default="`/content/<name>`",
            format=formats.REMOTE_ROOT,
        ),
    ]
    python: Annotated[
        str, Key("Python interpreter on the VM.", '"python3"', format=formats.TEXT)
    ] = "python3"
    env: Annotated[
        Mapping[str, str],
        Key(
            "Environment variables of everything started on the VM.",
            '{ WANDB_MODE = "offline" }',
            format=formats.ARGUMENT,
            names=formats.VARIABLE,
        ),
    ] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SyncConfig:
    """What is mirrored to the VM, and how."""

    mode: Annotated[
        Literal["mirror", "replica"],
        Key(
            "`mirror` never touches files that exist only on the VM; `replica` deletes "
            "them.",
            '"mirror"',
        ),
    ] = "mirror"
    gitignore: Annotated[
        bool, Key("Honour the project's `.gitignore` files, nested ones too.", "true")
    ] = True
    exclude: Annotated[
        tuple[str, ...],
        Key(
            "What is not mirrored, in gitignore syntax. Repositories, virtual "
            "environments and caches (`.git`, `.venv`, `__pycache__`, `node_modules` "
            "…) are excluded by default.",
            '["data/", "*.ckpt"]',
            format=formats.PATTERN,
        ),
    ] = ()
    include: Annotated[
        tuple[str, ...],
        Key(
            "What is mirrored all the same, in gitignore syntax. Wins over "
            "`.gitignore` files, over `exclude` and over folders that they exclude; "
            "only `.git` and `.colab-devsync` stay out.",
            '["data/labels.csv"]',
            format=formats.PATTERN,
        ),
    ] = ()
    watch: Annotated[
        bool,
        Key(
            "Also mirror what other tools change, not only the editor's saves.", "true"
        ),
    ] = True
    max_file_size: Annotated[
        int,
        Key(
            "Larger files are skipped with a warning; `colab-devsync push` sends them.",
            '"100MB"',
            default='`"100MB"`',
            format=formats.SIZE,
            minimum=1,
        ),
    ] = 100 * 1000**2


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What Run starts when no file is named."""

    entry: Annotated[
        str | None,
        Key(
            "Script to run. Excludes `module`.",
            '"train.py"',
            format=formats.PROJECT_PATH,
        ),
    ] = None
    module: Annotated[
        str | None,
        Key(
            "Module to run, as with `python -m`. Excludes `entry`.",
            '"pkg.train"',
            format=formats.MODULE,
        ),
    ] = None
    args: Annotated[
        tuple[str, ...],
        Key("Arguments of the program.", '["--epochs", "1"]', format=formats.ARGUMENT),
    ] = ()
    cwd: Annotated[
        str,
        Key(
            "Folder to run in: relative to `remote.root`, or absolute.",
            '"."',
            format=formats.REMOTE_PATH,
        ),
    ] = "."
    env: Annotated[
        Mapping[str, str],
        Key(
            "Environment variables of runs, on top of `remote.env`.",
            '{ CUDA_VISIBLE_DEVICES = "0" }',
            format=formats.ARGUMENT,
            names=formats.VARIABLE,
        ),
    ] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DebugConfig:
    """How the debugger behaves."""

    just_my_code: Annotated[
        bool, Key("Step over code that is not the project's.", "true")
    ] = True
    subprocesses: Annotated[
        bool, Key("Debug the program's child processes too.", "true")
    ] = True
    prefer: Annotated[
        Literal["auto", "builtin", "debugpy"],
        Key(
            "Which debug type VS Code uses: ours (`builtin`, and today `auto`), or "
            "Microsoft's `debugpy` where it is installed.",
            '"auto"',
        ),
    ] = "auto"


@dataclass(frozen=True, kw_only=True)
class TensorboardConfig:
    """TensorBoard on the VM, opened on a local port."""

    logdir: Annotated[
        str,
        Key(
            "Folder of event files: relative to `remote.root`, or absolute.",
            '"runs"',
            format=formats.REMOTE_PATH,
        ),
    ] = "runs"


@dataclass(frozen=True, kw_only=True)
class PullConfig:
    """A folder on the VM whose finished files come home by themselves."""

    remote: Annotated[
        str,
        Key(
            "Folder on the VM: relative to `remote.root`, or absolute.",
            '"checkpoints"',
            format=formats.REMOTE_PATH,
        ),
    ]
    local: Annotated[
        str,
        Key(
            "Folder they are put in, relative to the project. One rule per folder.",
            '"checkpoints"',
            default="the same as `remote`, where that is relative",
            format=formats.PROJECT_PATH,
        ),
    ]
    include: Annotated[
        tuple[str, ...],
        Key(
            "Which files, in gitignore syntax; empty = all.",
            '["*.pt", "*.ckpt"]',
            format=formats.PATTERN,
        ),
    ] = ()
    exclude: Annotated[
        tuple[str, ...],
        Key(
            "Which of them are not fetched, in gitignore syntax. Wins over `include`; "
            "what is below an excluded folder is not looked at.",
            '["tmp_*", "debug/"]',
            format=formats.PATTERN,
        ),
    ] = ()
    every: Annotated[
        float, Key("Seconds between looks at the VM.", "10", minimum=1, maximum=86_400)
    ] = 10.0
    keep: Annotated[
        int, Key("How many of the newest files stay locally; 0 = all.", "5", minimum=0)
    ] = 0

    @property
    def name(self) -> str:
        """What `colab-devsync pull NAME` calls it; unique in a configuration."""
        return self.local


@dataclass(frozen=True, kw_only=True)
class ForwardConfig:
    """A port of the VM, reachable as a port of this machine."""

    remote_port: Annotated[
        int, Key("Port on the VM.", "7860", minimum=1, maximum=MAX_PORT)
    ]
    name: Annotated[
        str,
        Key(
            "What the forward is called. One forward per name.",
            '"gradio"',
            default="the number of `remote_port`",
            format=formats.NAME,
        ),
    ]
    local_port: Annotated[
        int, Key("Port on this machine; 0 = any.", "7860", minimum=0, maximum=MAX_PORT)
    ] = 0


@dataclass(frozen=True, kw_only=True)
class SshConfig:
    """The VM's own SSH server, for `ssh colab-<name>` and other tools."""

    local_port: Annotated[
        int,
        Key(
            "Its port on this machine; 0 = chosen once and kept.",
            "0",
            minimum=0,
            maximum=MAX_PORT,
        ),
    ] = 0


@dataclass(frozen=True, kw_only=True)
class Config:
    """A project's configuration, every default filled in."""

    name: Annotated[
        str,
        Key(
            "Name of the project; the SSH alias is `colab-<name>`.",
            '"segmentation"',
            default="the folder's name",
            format=formats.NAME,
        ),
    ]
    link: LinkConfig = field(default_factory=LinkConfig)
    remote: RemoteConfig
    sync: SyncConfig = field(default_factory=SyncConfig)
    run: RunConfig = field(default_factory=RunConfig)
    debug: DebugConfig = field(default_factory=DebugConfig)
    tensorboard: TensorboardConfig = field(default_factory=TensorboardConfig)
    pull: tuple[PullConfig, ...] = ()
    forward: tuple[ForwardConfig, ...] = ()
    ssh: SshConfig = field(default_factory=SshConfig)
    profile: str | None = None  # the one that was applied; not a key
