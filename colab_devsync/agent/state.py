"""Small facts in our folder that outlive the agent."""

from __future__ import annotations

import os
import sys
import uuid

assert sys.platform != "win32"  # runs on the VM only

from . import probe


def marker(state: str) -> str:
    """The root's own random name, made with it."""
    path = os.path.join(state, "marker")
    try:
        with open(path, encoding="ascii", errors="replace") as stream:
            found = stream.read()
    except FileNotFoundError:
        found = ""
    if len(found) == len(uuid.uuid4().hex):
        return found
    fresh = uuid.uuid4().hex
    with open(path + ".new", "w", encoding="ascii") as stream:
        stream.write(fresh)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(path + ".new", path)
    return fresh


class Unsynced:
    """Notes that batches were written without syncing each file.

    If the machine goes down then, their contents are not to be believed.
    """

    def __init__(self, state: str) -> None:
        self._path = os.path.join(state, "unsynced")

    def mark(self) -> None:
        if not os.path.exists(self._path):
            with open(self._path, "w", encoding="ascii") as stream:
                stream.write(probe.boot_id())
                stream.flush()
                os.fsync(stream.fileno())

    def sync(self) -> None:
        """Brings all to the disk."""
        os.sync()
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass

    def recover(self) -> bool:
        """Whether the machine went down with files written but not synced."""
        try:
            with open(self._path, encoding="ascii", errors="replace") as stream:
                written_in = stream.read()
        except FileNotFoundError:
            return False
        self.sync()
        return written_in != probe.boot_id()
