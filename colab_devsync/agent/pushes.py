"""What a client asks while it pushes data: where to, what is there, take this, done.

Requests are stateless but for open folders, so that a push goes on with another agent
where it was cut. Sent to the VM when somebody pushes for the first time.
"""

from __future__ import annotations

import errno
import json
import os
import posixpath
import shutil
import stat
import sys
import threading
from typing import Any, Callable, Dict, List, Mapping, Tuple

assert sys.platform != "win32"  # runs on the VM only

from . import wire
from .deposit import FOLDER, Deposit, Wanted
from .ownership import Stale
from .paths import UnsafePath
from .tree import Tree
from .unpack import Unpacking

Answer = Tuple[wire.Meta, bytes]
_MAX_PLACES = 200


class Pushes:
    """Any thread may call `answer`."""

    def __init__(self, tree: Tree, marker: str) -> None:
        self._tree = tree
        self._marker = marker
        self._lock = threading.Lock()
        self._open: Dict[str, Deposit] = {}
        self._unpackings: Dict[str, Unpacking] = {}
        self._handlers: Mapping[str, Callable[[wire.Frame], Answer]] = {
            "open": self._open_target,
            "look": self._look,
            "put": self._put,
            "have": self._have,
            "part": self._part,
            "end": self._end,
            "unpack": self._unpack,
            "unpacked": self._unpacked,
            "done": self._done,
        }

    def answer(self, frame: wire.Frame) -> Answer:
        """WireError, UnsafePath, OSError."""
        handler = self._handlers.get(str(frame.meta.get("do")))
        if handler is None:
            raise wire.WireError("unknown step of a push: %r" % frame.meta.get("do"))
        try:
            return handler(frame)
        except (KeyError, TypeError, ValueError) as exc:
            raise wire.WireError("malformed step of a push: %r" % exc) from exc

    # --- where to -----------------------------------------------------------------

    def _open_target(self, frame: wire.Frame) -> Answer:
        """Decides where `name` goes. `kind`: "file", "folder", or "inside" when the
        target is a folder whatever its name is; each with scp's rules."""
        ask = frame.meta
        remote, name, kind = str(ask["remote"]), str(ask["name"]), str(ask["kind"])
        target, is_inside = self._resolve(remote)
        places = _Places(os.path.join(self._tree.state, "pushed.json"))
        if kind == "folder" and places.get(name, remote) == target:
            is_inside = False  # this very push made that folder
        if kind != "inside" and is_inside:
            target = os.path.join(target, _plain(name))
        elif kind == "folder" and not os.path.isdir(target):
            places.note(name, remote, target)
        base, path = os.path.split(target) if kind == "file" else (target, "")
        if kind == "file" and os.path.isdir(target):
            raise UnsafePath("%s is a folder on the VM" % target)
        _make(base)
        base = os.path.realpath(base)
        self._look_again(base)
        self._deposit(base)
        about = shutil.disk_usage(base)
        shown = os.path.join(base, path) if path else base
        return {"base": base, "path": path, "free": about.free, "shown": shown}, b""

    def _resolve(self, remote: str) -> Tuple[str, bool]:
        """The absolute path, and whether what is pushed goes inside it."""
        if not remote or "\0" in remote:
            raise UnsafePath("not a path: %r" % remote)
        if ".." in remote.split("/"):
            raise UnsafePath('%s: a target has no ".."; name it from /' % remote)
        path = os.path.expanduser(remote) if remote.startswith("~") else remote
        path = posixpath.normpath(os.path.join(self._tree.root, path))
        path = "/" + path.lstrip("/")
        within = os.path.relpath(os.path.realpath(path), self._tree.state)
        if not within.startswith(".."):
            raise UnsafePath("%s is reserved" % path)
        if os.path.islink(path) and os.path.isfile(path):
            path = os.path.realpath(path)  # as scp: into the file it leads to
        is_folder = os.path.isdir(path)
        wants_folder = remote.endswith("/") or posixpath.basename(remote) == "."
        if wants_folder and os.path.exists(path) and not is_folder:
            raise UnsafePath("%s is a file on the VM, not a folder" % path)
        return path, is_folder or wants_folder

    def _deposit(self, base: str) -> Deposit:
        with self._lock:
            found = self._open.get(base)
            if found is None:
                ownership = self._tree.ownership
                found = self._open[base] = Deposit(base, ownership, self._marker)
            return found

    def _look_again(self, base: str) -> None:
        """A push that was cut or refused left its deposit open: is it still true?"""
        with self._lock:
            found = self._open.get(base)
            if found is not None and not found.is_there():
                del self._open[base]

    # --- what is there, and what arrives ------------------------------------------

    def _at(self, frame: wire.Frame) -> Deposit:
        base = str(frame.meta["base"])
        if not os.path.isabs(base):
            raise UnsafePath("not an absolute folder: %r" % base)
        return self._deposit(base)

    def _look(self, frame: wire.Frame) -> Answer:
        return {"states": self._at(frame).look(frame.meta["files"])}, b""

    def _put(self, frame: wire.Frame) -> Answer:
        batch = [_wanted(raw) for raw in frame.meta["entries"]]
        return {"results": self._at(frame).put(batch, wire.inflate(frame))}, b""

    def _have(self, frame: wire.Frame) -> Answer:
        meta = frame.meta
        pieces = self._at(frame).have(str(meta["path"]), str(meta["source"]))
        return {"pieces": pieces}, b""

    def _part(self, frame: wire.Frame) -> Answer:
        meta = frame.meta
        path, source, offset = str(meta["path"]), str(meta["source"]), meta["offset"]
        if not isinstance(offset, int) or offset < 0:
            raise wire.WireError("a piece does not lie in its file")
        try:
            self._at(frame).add(path, source, offset, wire.inflate(frame))
        except Stale as exc:
            return {"stale": str(exc)}, b""
        return {}, b""

    def _end(self, frame: wire.Frame) -> Answer:
        wanted = _wanted(frame.meta["entry"])
        result = self._at(frame).end(wanted, str(frame.meta["source"]))
        return {"results": [result]}, b""

    # --- afterwards ---------------------------------------------------------------

    def _unpack(self, frame: wire.Frame) -> Answer:
        """Begins to unpack; `unpacked` tells how far it is."""
        deposit, wanted = self._at(frame), _wanted(frame.meta["entry"])
        key = deposit.base + "\0" + wanted.path
        with self._lock:
            running = self._unpackings.get(key)
            if running is None or running.is_over:
                source = str(frame.meta["source"])
                self._unpackings[key] = Unpacking(deposit, wanted, source)
        return {}, b""

    def _unpacked(self, frame: wire.Frame) -> Answer:
        found = self._unpackings.get(
            self._at(frame).base + "\0" + str(frame.meta["path"])
        )
        if found is None:
            raise wire.WireError("nothing is being unpacked there")
        return found.state(), b""

    def _done(self, frame: wire.Frame) -> Answer:
        """Brings everything to the disk; nothing of ours stays in the folder."""
        if frame.meta.get("sync"):
            os.sync()
        base = str(frame.meta["base"])
        with self._lock:
            for key, one in self._unpackings.items():
                if key.startswith(base + "\0") and not one.is_over:
                    return {}, b""  # somebody stopped waiting for it: it has its folder
            deposit = self._open.pop(base, None)
        if deposit is not None:
            deposit.close()
        return {}, b""


class _Places:
    """Which folders pushes made: the same push then goes to the same place, where
    another one of the same name would go inside."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            with open(path, encoding="ascii") as stream:
                found = json.load(stream)
        except (OSError, ValueError):
            found = []
        self._all: List[Any] = found if isinstance(found, list) else []

    def get(self, name: str, remote: str) -> str:
        for one in self._all:
            if one[:2] == [name, remote] and os.path.isdir(one[2]):
                return str(one[2])
        return ""

    def note(self, name: str, remote: str, target: str) -> None:
        rest = [one for one in self._all if one[:2] != [name, remote]]
        self._all = [[name, remote, target], *rest][:_MAX_PLACES]
        with open(self._path + ".new", "w", encoding="ascii") as stream:
            json.dump(self._all, stream)
        os.replace(self._path + ".new", self._path)


def _plain(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise UnsafePath("not a plain name: %r" % name)
    return name


def _make(folder: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except FileExistsError as exc:
        raise NotADirectoryError(errno.ENOTDIR, "a file stands there", folder) from exc
    if not stat.S_ISDIR(os.stat(folder).st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "a file stands there", folder)


def _wanted(raw: List[Any]) -> Wanted:
    found = Wanted(*raw)
    sound = (
        isinstance(found.path, str)
        and found.kind in (wire.FILE, wire.LINK, FOLDER)
        and isinstance(found.size, int)
        and isinstance(found.mtime_ns, int)
        and isinstance(found.length, int)
        and min(found.size, found.length) >= 0
    )
    if not sound:
        raise wire.WireError("malformed entry: %r" % (raw,))
    return found
