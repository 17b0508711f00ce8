"""Values that only this machine or the VM knows, for completion. On the loop.

Folders are listed one at a time, as they are typed, and only as far as a person would
read. The VM is asked only while the link is up, and answers late or not at all.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..core.editing.complete import Wanted
from ..core.ignore import JUNK, NEVER
from ..errors import DevsyncError
from ..link.colab.store import read_sessions, sessions_file
from .bridge import in_thread, settle
from .server import DevsyncServer

_MOST = 200
_VM_S = 2.0
_NO_KEYS = {"authorized_keys", "config", "known_hosts", "environment", "rc"}


async def find(ls: DevsyncServer, root: Path, wanted: Wanted) -> tuple[str, ...]:
    if wanted.source == "remote folders":
        return await _remote_folders(ls, root, wanted)
    names = _LOCAL[wanted.source]
    try:
        # Homes and projects may be on a network.
        return await in_thread(
            lambda: tuple(_first(names(root, wanted.typed))), "lookup"
        )
    except (OSError, ValueError, DevsyncError):
        return ()  # no such folder, or no name of one; a store that is broken


def _first(names: Iterable[str]) -> Iterator[str]:
    for name, _ in zip(names, range(_MOST), strict=False):
        yield name


def _sessions(root: Path, typed: str) -> list[str]:
    return sorted(read_sessions(sessions_file()))


def _identity_files(root: Path, typed: str) -> list[str]:
    """Private keys in ~/.ssh: a file beside one with ".pub", or with such a name."""
    names = sorted(os.listdir(Path.home() / ".ssh"))
    there = set(names)
    keys = [
        name
        for name in names
        if not name.endswith(".pub") and name.partition(".")[0] not in _NO_KEYS
        if f"{name}.pub" in there or name.startswith("id_") or name.endswith(".pem")
    ]
    return [f"~/.ssh/{name}" for name in keys]


def _scripts(root: Path, typed: str) -> Iterator[str]:
    return _listed(root, typed, lambda entry: entry.name.endswith(".py"))


def _modules(root: Path, typed: str) -> Iterator[str]:
    """Dotted names of the project's modules, folder by folder."""
    package = typed.rpartition(".")[0]
    folder = package.replace(".", "/") + "/" if package else ""
    for name in _scripts(root, folder):
        stem = name.removesuffix("/").removesuffix(".py").replace("/", ".")
        if all(part.isidentifier() for part in stem.split(".")):
            yield stem.removesuffix(".__main__").removesuffix(".__init__")


def _paths(root: Path, typed: str) -> Iterator[str]:
    return _listed(root, typed, lambda entry: True)


def _folders(root: Path, typed: str) -> Iterator[str]:
    return _listed(root, typed, lambda entry: False)


_LOCAL: dict[str, Callable[[Path, str], Iterable[str]]] = {
    "sessions": _sessions,
    "identity files": _identity_files,
    "scripts": _scripts,
    "modules": _modules,
    "project paths": _paths,
    "project folders": _folders,
}


def _listed(
    root: Path, typed: str, wanted: Callable[[os.DirEntry[str]], bool]
) -> Iterator[str]:
    """Names in the folder that `typed` is about: folders, and the wanted files."""
    inside = typed.rpartition("/")[0]
    if inside.startswith(("/", "~")) or ".." in inside.split("/"):
        return
    with os.scandir(root / inside) as entries:
        found = sorted(entries, key=lambda one: (not one.is_dir(), one.name))
    for entry in found:
        is_folder = entry.is_dir()
        if entry.name in JUNK or entry.name in NEVER:
            continue
        if is_folder or wanted(entry):
            name = f"{inside}/{entry.name}" if inside else entry.name
            yield name + "/" if is_folder else name


async def _remote_folders(
    ls: DevsyncServer, root: Path, wanted: Wanted
) -> tuple[str, ...]:
    project = ls.folders.known(root)
    if project is None:
        return ()
    inside = wanted.typed.rpartition("/")[0] or (
        "/" if wanted.typed.startswith("/") else ""
    )
    asked = settle(project.session.glance.folders(inside))
    try:
        names = await asyncio.wait_for(asked, _VM_S)
    except (DevsyncError, TimeoutError, asyncio.TimeoutError):
        return ()  # the VM is out of reach, or says no; typing goes on
    lead = inside if inside.endswith("/") or not inside else f"{inside}/"
    return tuple(_first(f"{lead}{name}/" for name in names))
