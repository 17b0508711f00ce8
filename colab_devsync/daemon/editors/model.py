"""What a set-up is made of: facts about the project, files, steps for a person."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath


class CannotMerge(Exception):
    """A file that is there cannot be changed without harm; says why."""


@dataclass(frozen=True)
class Places:
    """Folders of this machine. Absolute."""

    project: PurePath
    own: PurePath  # ours alone: what stands there is replaced without asking
    nvim: PurePath  # Neovim's configuration
    git_exclude: PurePath | None = None  # .git/info/exclude of the repository
    git_prefix: str = ""  # the project's folder inside the repository: "" or "sub/"


@dataclass(frozen=True)
class Facts:
    """What the files have to say."""

    alias: str  # of plain ssh
    remote_root: str
    command: Sequence[str]  # starts colab-devsync; short where PATH has it
    program: Sequence[str]  # the same with an absolute path, for what has no PATH
    places: Places
    entry: str | None  # of [run]
    ssh_host: str  # the alias where ssh_config knows it, else 127.0.0.1
    ssh_port: int
    ssh_user: str
    identity_file: str | None = None  # None: the agent's keys or the usual files
    upload_by: str = "daemon"  # or "pycharm"
    profile: str | None = None

    @property
    def here(self) -> list[str]:
        """`command` for files of the project alone: they name its profile."""
        chosen = ("--profile", self.profile) if self.profile else ()
        return [*self.command, *chosen]

    @property
    def brand(self) -> str:
        """Begins the names of entries in files of the project: each profile has its
        own, beside those of others."""
        return f"Colab {self.profile}" if self.profile else "Colab"


@dataclass(frozen=True)
class File:
    """One file. `text` is what a new one holds; `merge` puts it into one that is there
    (CannotMerge), and without it such a file stays as it is."""

    path: PurePath
    text: str
    what: str  # what it is for, in a few words
    merge: Callable[[str], str] | None = None
    is_ours: bool = False  # in our own folder: replaced without asking
    is_outside: bool = False  # not in the project: a new one is asked about, too


@dataclass(frozen=True)
class Setup:
    """All of one editor: `steps` are what only a person can do, in order."""

    files: Sequence[File]
    steps: Sequence[str] = field(default=())
