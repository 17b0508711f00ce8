"""Takes files and the folders they leave empty out of the project folder.

The caller owns the root meanwhile.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import List, Tuple

assert sys.platform != "win32"  # runs on the VM only

from . import wire
from .manifest import Changes
from .paths import Folders, NotAFolder, split
from .refusal import guarded
from .view import View
from .wire import Result


class Removal:
    def __init__(self, root_fd: int, view: View) -> None:
        self._root_fd = root_fd
        self._view = view

    def remove(
        self, wanted: List[Tuple[str, List[str]]], changes: Changes
    ) -> List[Result]:
        """Removes (path, accept) pairs; adds what the manifest has to know."""
        results: List[Result] = []
        with Folders(self._root_fd) as folders:
            for path, accept in wanted:
                folders.trim()
                step = partial(self._delete, path, accept, folders, changes)
                results.append(guarded(step))
        emptied = {path.rpartition("/")[0] for path, _ in changes}
        for folder in sorted(emptied, reverse=True):
            self._prune(folder)
        return results

    def _delete(
        self, path: str, accept: List[str], folders: Folders, changes: Changes
    ) -> Result:
        parts = split(path)
        try:
            folder = folders.parent(parts, create=False)
        except NotAFolder:
            folder = None
        held = ""
        if folder is not None:
            _, held = self._view.current(path, parts[-1], folder)
            if held == "folder":  # somebody else's; our file is gone
                held = ""
            if held and held not in accept:
                return (wire.CONFLICT, held, "")
            if held:
                os.unlink(parts[-1], dir_fd=folder)
        changes.append((path, None))
        return (wire.OK if held else wire.SAME, "", "")

    def _prune(self, folder: str) -> None:
        while folder:
            with Folders(self._root_fd) as folders:
                if guarded(partial(_remove_folder, folder, folders)) is not True:
                    return
            folder = folder.rpartition("/")[0]


def _remove_folder(path: str, folders: Folders) -> bool:
    parts = split(path)
    above = folders.parent(parts, create=False)
    if above is not None:
        os.rmdir(parts[-1], dir_fd=above)
    return above is not None


def remove_empty_folders(name: str, folder: int) -> None:
    """Removes a folder that holds nothing but empty folders."""
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY, dir_fd=folder)
    try:
        for entry in os.listdir(fd):
            remove_empty_folders(entry, fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=folder)
