"""`connect --new`: a new Colab runtime, by Google's own command, after asking.

The only place that makes one. Google's command runs in this terminal, because it may
want a login.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import click

from ..daemon.projects import require_root
from ..engine.project import load_project
from ..errors import ConfigError, LinkError
from ..link.colab import cli
from ..link.colab.store import read_sessions, sessions_file
from .settings import Settings


@dataclass(frozen=True)
class Wish:
    """What the runtime shall have."""

    gpu: str | None = None
    tpu: str | None = None
    high_mem: bool = False

    @property
    def options(self) -> list[str]:
        """For `colab new`."""
        gpu = ["--gpu", self.gpu] if self.gpu else []
        tpu = ["--tpu", self.tpu] if self.tpu else []
        return [*gpu, *tpu, *(["--high-mem"] if self.high_mem else [])]

    @property
    def shown(self) -> str:
        return self.gpu or self.tpu or "no GPU"


def make_runtime(settings: Settings, wish: Wish, *, is_sure: bool) -> None:
    """ConfigError: another provider, or nobody to ask. LinkError: there is one, or
    Google's command failed. click.Abort: no."""
    root = require_root(settings.start)
    config = load_project(root, settings.profile_name)
    if config.link.provider != "colab":
        raise ConfigError(
            f"--new makes Colab runtimes, but the provider in [link] is "
            f'"{config.link.provider}"',
            'set provider = "colab", or connect without --new',
        )
    name = config.link.session or config.name
    if name in read_sessions(sessions_file()):
        raise LinkError(
            f"there is a Colab session {name!r} already",
            f"connect without --new; or end it first: `colab stop --session {name}`",
        )
    argv = cli.new_session(name, wish.options)
    if not is_sure:
        _ask(name, wish)
    _run(argv)


def _ask(name: str, wish: Wish) -> None:
    if not sys.stdin.isatty():
        raise ConfigError(
            "a new runtime uses compute units, and there is no terminal to ask whether "
            "you want that",
            "add --yes if you do",
        )
    click.confirm(
        f"Make a new Colab runtime {name!r} ({wish.shown})? It uses compute units "
        f"until `colab stop --session {name}`",
        abort=True,
        err=True,
    )


def _run(argv: Sequence[str]) -> None:
    """Its output goes to stderr: stdout is the answer's."""
    try:
        code = subprocess.run(argv, stdout=sys.stderr, check=False).returncode
    except OSError as error:
        raise LinkError(
            f"cannot start {argv[0]}: {error.strerror or error}", cli.INSTALL
        ) from error
    if code:
        raise LinkError(
            f"Google's command made no runtime (it ended with code {code})",
            "its own words are above; `colab sessions` shows what there is",
        )
