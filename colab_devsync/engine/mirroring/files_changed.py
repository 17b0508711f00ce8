"""From a hint about a path to the files it may concern."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from ...core.ignore import IgnoreRules
from ...core.plan import LocalStat
from ..store import Store
from . import tree

_TREE = 100  # files; a folder with more is a tree that was moved in, not saves

Found = tuple[str, LocalStat | None]


def expand(
    root: Path, rules: IgnoreRules, store: Store, paths: Iterable[str]
) -> Iterator[Found]:
    """The files at and below `paths`, here or known on the VM. O(what is concerned).
    Those of a whole tree come with what the walk saw of them, as from a survey."""
    for path in paths:
        if path in ("", "."):
            continue
        name = tree.absolute(root, path)
        is_folder = os.path.isdir(name) and not os.path.islink(name)
        if is_folder and not rules.ignores(path, is_dir=True):
            yield from _inside(root, rules, path)
        if not is_folder and (
            path in store.known or not rules.ignores(path, is_dir=False)
        ):
            yield path, None
        if path in store.folders:
            prefix = path + "/"
            gone = [known for known in store.known if known.startswith(prefix)]
            yield from ((known, None) for known in gone)


def _inside(root: Path, rules: IgnoreRules, folder: str) -> Iterator[Found]:
    """A folder that was made or moved in: its files were not reported."""
    files = tree.Walk(root, rules).files(folder)
    first = list(islice(files, _TREE))
    if len(first) < _TREE:
        yield from ((path, None) for path, _ in first)
    else:
        yield from first
        yield from files
