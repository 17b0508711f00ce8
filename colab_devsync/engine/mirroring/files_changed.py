"""From a hint about a path to the files it may concern."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ...core.ignore import IgnoreRules
from ..store import Store
from . import tree

_TREE = 100  # files; a folder with more is a tree that was moved in, not saves


@dataclass(frozen=True)
class WholeTree:
    """A folder with so many files that a survey had better look at them."""

    folder: str


Found = str | WholeTree


def expand(
    root: Path, rules: IgnoreRules, store: Store, paths: Iterable[str]
) -> Iterator[Found]:
    """The files at and below `paths`, here or known on the VM. O(what is concerned)."""
    places: dict[str, str | None] = {}
    paths = list(paths)
    _read_rules(root, rules, paths)
    for hint in paths:
        path = _without_links(root, hint, places)
        if path is None or path in ("", "."):
            continue
        name = tree.absolute(root, path)
        is_folder = os.path.isdir(name) and not os.path.islink(name)
        if is_folder and not rules.ignores(path, is_dir=True):
            yield from _inside(root, rules, path)
        if not is_folder and (
            path in store.known or not rules.ignores(path, is_dir=False)
        ):
            yield path
        if path in store.folders:
            prefix = path + "/"
            yield from [known for known in store.known if known.startswith(prefix)]


def _read_rules(root: Path, rules: IgnoreRules, paths: Iterable[str]) -> None:
    """A `.gitignore` that comes with files rules these at once: the walk that judges
    all others anew may end when they are on the VM already."""
    for path in paths:
        folder, _, name = path.rpartition("/")
        if name == ".gitignore":
            text = tree.read_gitignore(tree.absolute(root, path))
            rules.set_gitignore(folder, text)


def _without_links(root: Path, path: str, places: dict[str, str | None]) -> str | None:
    """The name that the walk finds it under; None if it is not in the project. Editors
    open files through linked folders, and of a folder with two names the watch tells
    either. `places` has the folders that were asked for before."""
    folder, slash, name = path.rpartition("/")
    if not slash:
        return path
    if folder not in places:
        places[folder] = _place(root, folder)
    place = places[folder]
    if place is None or place == ".":
        return place and name
    return f"{place}/{name}"


def _place(root: Path, folder: str) -> str | None:
    """`folder` itself, if no link is on the way there."""
    parts = folder.split("/")
    heads = ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
    if not any(os.path.islink(tree.absolute(root, head)) for head in heads):
        return folder
    real = Path(os.path.realpath(tree.absolute(root, folder)))
    try:
        return real.relative_to(os.path.realpath(root)).as_posix()
    except ValueError:
        return None


def _inside(root: Path, rules: IgnoreRules, folder: str) -> Iterator[Found]:
    """A folder that was made or moved in: its files were not reported."""
    files = tree.Walk(root, rules).files(folder)
    first = [path for path, _ in islice(files, _TREE)]
    if len(first) < _TREE:
        yield from first
    else:
        yield WholeTree(folder)
