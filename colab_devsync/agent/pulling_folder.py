"""One folder whose finished files are to be pulled: which there are, which are new.

A file is finished when nobody has it open for writing; where that cannot be known,
when two looks a second apart saw the same. Files that are only ever appended to (logs,
event files) are shown as they grow. Times are those of this machine alone.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import time
from typing import Dict, List, NamedTuple, Optional, Set, Tuple

assert sys.platform != "win32"  # runs on the VM only

from .paths import STATE_DIR
from .refusal import in_words
from .writers import open_for_writing

_SETTLE_S = 1.0  # between two looks at what may still be written
_YOUNG_NS = 20_000_000  # a clock tick of the file system: a change may not show yet
_GROWING = re.compile(r"(?:^|\.)tfevents\.|\.log$")
_MASK = (1 << 63) - 1


class Version(NamedTuple):
    """What tells versions of a file apart. Integers of 63 bits."""

    dev: int
    ino: int
    size: int
    mtime_ns: int


class Selection:
    """Which paths a rule means. Each pattern is [negated, folders only, matches the
    whole path, regular expression]; the last that matches decides, none means no."""

    def __init__(self, patterns: List[List[object]]) -> None:
        self._patterns = [
            (not negated, bool(only_dirs), bool(whole), re.compile(str(regex), re.S))
            for negated, only_dirs, whole, regex in reversed(patterns)
        ]

    def takes(self, above: bool, path: str, name: str, is_dir: bool) -> bool:
        """`above`: whether the folder it is in is taken. Without patterns, all is."""
        return self._verdict(path, name, is_dir, above or not self._patterns)

    def names(self, path: str, name: str, is_dir: bool) -> bool:
        """Whether a pattern says so itself."""
        return self._verdict(path, name, is_dir, False)

    def _verdict(self, path: str, name: str, is_dir: bool, default: bool) -> bool:
        for verdict, only_dirs, whole, regex in self._patterns:
            if only_dirs and not is_dir:
                continue
            if regex.fullmatch(path if whole else name):
                return verdict
        return default


class Look(NamedTuple):
    """What there is to tell."""

    files: List[Tuple[str, Version, bool]]  # path, version, whether it still grows
    gone: List[str]
    links: List[str]  # links that lead out, or nowhere, or to folders
    state: str  # "watching", "absent", "refused"
    message: str  # why not all of it, or nothing, can be looked at
    writing: int  # files somebody still writes


class _Pending(NamedTuple):
    version: Version
    since: float


class Folder:
    """One thread's. `path` is absolute; `skipped` wins over `selection`."""

    def __init__(
        self, path: str, every_s: float, selection: Selection, skipped: Selection
    ) -> None:
        self.path = path
        self.every_s = every_s
        self.folders: Dict[str, bool] = {}  # below it ("" itself); taken as a whole?
        self._selection = selection
        self._skipped = skipped
        self._real = path
        self._place: Optional[Tuple[int, int]] = None  # which folder that is
        self._known: Dict[str, Version] = {}
        self._told: Dict[str, float] = {}  # when growing files were
        self._pending: Dict[str, _Pending] = {}
        self._growing: Set[str] = set()
        self._links: List[str] = []
        self._closed: List[str] = []  # folders inside that may not be looked at
        self._found: Dict[str, Version] = {}
        self._state, self._message = "absent", ""
        self.is_young = False  # something was finished only just now
        self._looked_at = 0.0

    # --- looking ------------------------------------------------------------------

    def look_everywhere(self) -> Look:
        """Walks the whole folder."""
        self._found, self._links, self.folders, self._closed = {}, [], {}, []
        self._state, self._message = "watching", ""
        self._real = os.path.realpath(self.path)
        self._place = _place_of(self.path)
        try:
            self._walk("", "", True)
        except FileNotFoundError:
            self._state = "absent"
        except NotADirectoryError:
            self._state, self._message = "refused", "it is a file, not a folder"
        except OSError as exc:
            self._state, self._message = "refused", in_words(exc)
        gone = []
        if self._state != "refused":  # else nobody knows
            closed = tuple(self._closed)
            gone = [
                path
                for path in self._known
                if path not in self._found and not path.startswith(closed)
            ]
            self._pending = {
                path: one for path, one in self._pending.items() if path in self._found
            }
        return self._settle(dict(self._found), gone)

    def look_at(self, paths: Set[str]) -> Look:
        """Looks at some files again."""
        found: Dict[str, Version] = {}
        gone: List[str] = []
        for path in paths:
            version = self._version(path)
            if version is not None:
                found[path] = version
            else:
                self._pending.pop(path, None)
                if path in self._known:
                    gone.append(path)
        return self._settle(found, gone)

    def look_again(self) -> Look:
        """At what was still written, and at what grows."""
        return self.look_at(set(self._pending) | self._growing)

    def is_replaced(self) -> bool:
        """Whether another folder has its name now, or none. The kernel does not tell
        while somebody uses the old one, nor if a link or a folder above was replaced.
        """
        return _place_of(self.path) != self._place

    @property
    def pending(self) -> Set[str]:
        """What is not finished as far as we know."""
        return set(self._pending)

    def due(self) -> Optional[float]:
        """When (monotonic) that is to be done; None: not at all."""
        if self.is_young:
            return self._looked_at + _YOUNG_NS / 1e9
        if self._state != "watching" or self._pending:
            return self._looked_at + _SETTLE_S
        is_due = self._growing or self._message
        return self._looked_at + self.every_s if is_due else None

    def takes(self, folder: str, name: str, is_dir: bool) -> bool:
        """Whether an entry of a known folder is meant."""
        path = folder + "/" + name if folder else name
        above = self.folders.get(folder, True)
        return self._takes(above, path, name, is_dir)

    # --- inside -------------------------------------------------------------------

    def _takes(self, above: bool, path: str, name: str, is_dir: bool) -> bool:
        is_meant = self._selection.takes(above, path, name, is_dir)
        return is_meant and not self._skipped.names(path, name, is_dir)

    def _walk(self, folder: str, prefix: str, taken: bool) -> None:
        self.folders[folder] = taken and bool(folder)
        below: List[Tuple[str, str]] = []
        with os.scandir(os.path.join(self.path, folder)) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    below.append((prefix + entry.name, entry.name))
                elif self._takes(
                    self.folders[folder], prefix + entry.name, entry.name, False
                ):
                    self._note(entry, prefix + entry.name)
        for path, name in below:
            if name == STATE_DIR or self._skipped.names(path, name, True):
                continue
            inside = self._selection.takes(self.folders[folder], path, name, True)
            try:
                self._walk(path, path + "/", inside)
            except FileNotFoundError:
                continue  # just removed
            except OSError as exc:
                self._message = self._message or "%s: %s" % (path, in_words(exc))
                self._closed.append(path + "/")

    def _note(self, entry: "os.DirEntry[str]", path: str) -> None:
        if entry.is_symlink():
            version = self._version(path)
            if version is None:
                self._links.append(path)
                return
        else:
            try:
                about = entry.stat(follow_symlinks=False)
            except OSError:
                return
            if not stat.S_ISREG(about.st_mode):
                return
            version = _version_of(about)
        self._found[path] = version

    def _version(self, path: str) -> Optional[Version]:
        """None if nothing is there that can be pulled."""
        name = os.path.join(self.path, path)
        try:
            about = os.lstat(name)
            if stat.S_ISLNK(about.st_mode):
                if not os.path.realpath(name).startswith(self._real + os.sep):
                    return None
                about = os.stat(name)
        except OSError:
            return None
        return _version_of(about) if stat.S_ISREG(about.st_mode) else None

    def _settle(self, found: Dict[str, Version], gone: List[str]) -> Look:
        fresh = {p: v for p, v in found.items() if self._known.get(p) != v}
        for path in set(found) - set(fresh):
            self._pending.pop(path, None)
        open_now = open_for_writing(self._real) if fresh else {}
        now = self._looked_at = time.monotonic()
        self.is_young = False
        ready: List[Tuple[str, Version, bool]] = []
        for path, version in fresh.items():
            grows = self._grows(path, version, open_now)
            if self._is_ready(path, version, grows, open_now):
                ready.append((path, version, grows))
                self._known[path] = version
                self._told[path] = now
                self._pending.pop(path, None)
            if grows:
                self._growing.add(path)
            else:
                self._growing.discard(path)
        for path in gone:
            self._known.pop(path, None)
            self._told.pop(path, None)
            self._growing.discard(path)
        writing = sum(1 for path in self._pending if path not in self._known)
        links, state = self._links, self._state
        return Look(ready, gone, links, state, self._message, writing)

    def _grows(
        self, path: str, version: Version, busy: Optional[Dict[Tuple[int, int], bool]]
    ) -> bool:
        """Whether somebody has it open, and will only append."""
        if busy is None:
            return bool(_GROWING.search(path))
        appends = busy.get((version.dev, version.ino))
        return appends is not None and (appends or bool(_GROWING.search(path)))

    def _is_ready(
        self,
        path: str,
        version: Version,
        grows: bool,
        busy: Optional[Dict[Tuple[int, int], bool]],
    ) -> bool:
        now = self._looked_at
        if grows:
            told = self._told.get(path)
            return told is None or now - told >= self.every_s * 0.9
        if busy is not None and (version.dev, version.ino) in busy:
            self._pending[path] = _Pending(version, now)
            return False
        age_ns = time.time_ns() - version.mtime_ns
        if 0 <= age_ns < _YOUNG_NS:
            self.is_young = True
            self._pending.setdefault(path, _Pending(version, now))
            return False
        known = self._known.get(path)
        if not version.size and known is not None and 0 <= age_ns < _SETTLE_S * 1e9:
            # To empty a large file takes the kernel a while, and who does that to
            # write it anew has it open, as far as can be seen, only then.
            self._pending.setdefault(path, _Pending(version, now))
            return False
        if busy is not None:
            return True
        before = self._pending.get(path)
        if before is None or before.version != version:
            self._pending[path] = _Pending(version, now)
            return False
        return now - before.since >= _SETTLE_S


def _place_of(path: str) -> Optional[Tuple[int, int]]:
    try:
        about = os.stat(path)
    except OSError:
        return None
    return about.st_dev, about.st_ino


def _version_of(about: os.stat_result) -> Version:
    dev, ino = about.st_dev & _MASK, about.st_ino & _MASK
    return Version(dev, ino, about.st_size, about.st_mtime_ns)
