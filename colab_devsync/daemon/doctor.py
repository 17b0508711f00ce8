"""Walks the way to the VM step by step and says what to do where it breaks.

Runs on a thread of its own, because it waits for the network. Reads the configuration
itself, so that it can say something where a session can't even start.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..core.config import CONFIG_NAME, Config
from ..engine.project import load_project
from ..errors import DevsyncError
from .address import log_dir, runtime_dir
from .check import Check, failed
from .doctor_vm import on_the_vm, on_this_machine
from .doctor_way import terms, way_to

if TYPE_CHECKING:
    from ..engine.session import Session


def examine(
    folder: str,
    session: Session | None,
    say: Callable[[str], None],
    *,
    profile: str | None = None,
) -> list[Check]:
    """All steps, in order; after the first broken one only what still makes sense."""
    found: list[Check] = []
    for check in _steps(Path(folder), session, profile):
        say(check.name)
        found.append(check)
    return found


def _steps(root: Path, session: Session | None, profile: str | None) -> Iterator[Check]:
    yield _installation()
    yield _folders()
    config, check = _configuration(root, profile)
    yield check
    if config is not None and session is not None:
        yield from _link(config, root, session)
    yield from on_this_machine()


def _link(config: Config, root: Path, session: Session) -> Iterator[Check]:
    status = session.status()
    if status.link == "online":
        # It may have come by a pasted line that the configuration does not know.
        yield from terms(config.link)
        yield Check("reach", True, f"connected to {status.target}")
    else:
        for check in way_to(config, root):
            yield check
            if check.ok is False:
                return
    yield from on_the_vm(session)


def _installation() -> Check:
    system = f"{platform.system()} {platform.machine()}"
    text = f"colab-devsync {__version__}, Python {platform.python_version()}, {system}"
    return Check("installation", True, f"{text} ({sys.executable})")


def _folders() -> Check:
    try:
        runtime, log = runtime_dir(), log_dir()
    except DevsyncError as error:
        return failed("folders", error)
    return Check("folders", True, f"sockets in {runtime}, logs in {log}")


def _configuration(root: Path, profile: str | None) -> tuple[Config | None, Check]:
    try:
        config = load_project(root, profile)
    except DevsyncError as error:
        return None, failed("configuration", error)
    path = root / CONFIG_NAME
    what = f"{path}: provider {config.link.provider}, {config.remote.root} on the VM"
    return config, Check("configuration", True, what)
