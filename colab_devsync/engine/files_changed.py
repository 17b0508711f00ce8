"""From a hint about a path to the files it may concern."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..core.ignore import IgnoreRules
from . import tree
from .store import Store


def expand(
    root: Path, rules: IgnoreRules, store: Store, paths: Iterable[str]
) -> Iterator[str]:
    """The files at and below `paths`, here or known on the VM. O(what is concerned)."""
    for path in paths:
        if path in ("", "."):
            continue
        name = tree.absolute(root, path)
        is_folder = os.path.isdir(name) and not os.path.islink(name)
        if is_folder and not rules.ignores(path, is_dir=True):
            # A folder that was made or moved in: its files were not reported.
            for inside, _ in tree.Walk(root, rules).files(path):
                yield inside
        if not is_folder and (
            path in store.known or not rules.ignores(path, is_dir=False)
        ):
            yield path
        if path in store.folders:
            prefix = path + "/"
            yield from [known for known in store.known if known.startswith(prefix)]
