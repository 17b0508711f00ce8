"""Gathers what an editor's files have to say. Reads files; connects to nothing."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from ...core.config import CONFIG_NAME
from ...core.ssh_access import SshAccess, alias_of
from ...engine import places
from ...engine.ports.ssh_port import expected_port
from ...engine.project import load_project
from ...errors import ConfigError
from ..ssh_config import SshConfig
from ..ssh_include import Include
from .model import Facts, Places

_PROGRAM = "colab-devsync"


def gather(
    root: Path,
    profile: str | None,
    access: SshAccess | None,
    upload_by: str = "daemon",
) -> Facts:
    """`root` as the client names it; `access` if the session is or was online.
    ConfigError."""
    config = load_project(root, profile)
    if upload_by == "pycharm" and config.sync.watch:
        raise ConfigError(
            "PyCharm and colab-devsync would both upload each saved file.",
            f"Set `watch = false` in [sync] of {CONFIG_NAME} first, or leave the "
            "uploading to colab-devsync.",
        )
    alias = alias_of(config.name, profile)
    program = _program()
    if access is None:
        port = expected_port(root.resolve(), profile, config)
        user, identity = config.link.user, config.link.identity_file
    else:
        port, user, identity = access.port, access.user, access.identity_file
    known = Include().is_there() and SshConfig().has(alias)
    return Facts(
        alias=alias,
        remote_root=config.remote.root,
        command=(_PROGRAM,) if shutil.which(_PROGRAM) else program,
        program=program,
        places=_places(root),
        entry=config.run.entry,
        ssh_host=alias if known else "127.0.0.1",
        ssh_port=port,
        ssh_user=user,
        identity_file=os.path.expanduser(identity) if identity else None,
        upload_by=upload_by,
        profile=profile,
    )


def _program() -> tuple[str, ...]:
    """What starts this very installation."""
    name = f"{_PROGRAM}.exe" if sys.platform == "win32" else _PROGRAM
    beside = Path(sys.executable).with_name(name)
    if beside.is_file():
        return (str(beside),)
    return (sys.executable, "-m", "colab_devsync")


def _places(root: Path) -> Places:
    exclude, prefix = _git(root)
    return Places(
        project=root,
        own=places.state_dir() / "editors",
        nvim=nvim_config(),
        git_exclude=exclude,
        git_prefix=prefix,
    )


def nvim_config() -> Path:
    """What Neovim's stdpath("config") says."""
    name = os.environ.get("NVIM_APPNAME") or "nvim"
    base = os.environ.get("XDG_CONFIG_HOME")
    if base:
        return Path(base) / name
    home = Path.home()
    usual = home / "AppData" / "Local" if sys.platform == "win32" else home / ".config"
    return usual / name


def _git(root: Path) -> tuple[Path | None, str]:
    """The repository's info/exclude, and the project's folder inside of it."""
    for folder in (root, *root.parents):
        found = _git_dir(folder / ".git")
        if found is not None:
            inside = root.relative_to(folder).as_posix()
            return found / "info" / "exclude", "" if inside == "." else f"{inside}/"
    return None, ""


def _git_dir(dot_git: Path) -> Path | None:
    """Follows the files that stand there in work trees and submodules."""
    if dot_git.is_dir():
        return dot_git
    if not dot_git.is_file():
        return None
    where = dot_git.read_text("utf-8", "surrogateescape").partition("gitdir:")[2]
    git_dir = (dot_git.parent / where.strip()).resolve()
    common = git_dir / "commondir"
    if common.is_file():
        text = common.read_text("utf-8", "surrogateescape").strip()
        git_dir = (git_dir / text).resolve()
    return git_dir if git_dir.is_dir() else None
