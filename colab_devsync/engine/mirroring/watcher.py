"""Tells which paths other tools changed: git, formatters, another editor.

Hints only. watchfiles was measured to lose files (nested mkdir and write, folders
moved in, overflows), so folders are named as folders and the engine walks them; when
the watch itself fails, the engine is told to survey everything, and again when the
watch stands anew: what happened in between was seen by nobody.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import watchfiles

from ...core.events import Problem
from ...core.ignore import NEVER

_log = logging.getLogger(__name__)

# Measured: changes arrive about 10 ms late for one per cent of a core.
_STEP_MS = 6
_DEBOUNCE_MS = 18
_PAUSES_S = (0.1, 1.0, 5.0, 30.0)
# A try takes 25 microseconds a folder, in which no other thread of ours goes on, and
# the system's limit does not change by itself.
_FULL_S = 600.0
_GIT_LOCK_S = 10.0  # a git command that takes longer is not waited for
_GIT_LOOK_S = 0.02

_NO_UTF8 = re.compile("[\ud800-\udfff]")  # the watch takes no such name


class Watcher:
    """One thread. `on_paths` gets relative "/"-paths, files and folders alike."""

    def __init__(
        self,
        root: Path,
        *,
        on_paths: Callable[[list[str]], None],
        on_gap: Callable[[Problem | None], None],
    ) -> None:
        self._root = root
        self._on_paths = on_paths
        self._on_gap = on_gap
        self._stop = threading.Event()
        self._is_behind = False

    def start(self) -> None:
        threading.Thread(target=self._run, name="devsync-watcher", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            began, least = time.monotonic(), 0.0
            try:
                self._watch()
            except (OSError, RuntimeError) as exc:
                _log.warning("watching %s failed: %s", self._root, exc)
                self._is_behind = True
                least = _FULL_S if _is_full(exc) else 0.0
                if not (isinstance(exc, FileNotFoundError) and self._root.is_dir()):
                    self._on_gap(_as_problem(exc))  # else a folder in it has just left
            if time.monotonic() - began > _PAUSES_S[-1]:
                failures, least = 0, 0.0  # it had worked
            pause = _PAUSES_S[min(failures, len(_PAUSES_S) - 1)]
            self._stop.wait(max(pause, least))
            failures += 1

    def _watch(self) -> None:
        """Returns when told to stop, or when another folder has the name."""
        try:
            self._listen([os.fspath(self._root)], is_lenient=False)
        except PermissionError:
            # The first folder that may not be read ends the watch of all that come
            # after it, but not of those that are named.
            self._listen(_readable(self._root), is_lenient=True)

    def _listen(self, folders: list[str], *, is_lenient: bool) -> None:
        """With `is_lenient`, no word is said of any folder that cannot be watched: not
        even if that is because the system's limit is reached."""
        watched = os.stat(self._root)  # of a folder that is missing, no word is said
        changes = watchfiles.watch(
            *folders,
            watch_filter=lambda change, path: self._is_watched(path),
            debounce=_DEBOUNCE_MS,
            step=_STEP_MS,
            stop_event=self._stop,
            rust_timeout=1000,
            yield_on_timeout=True,
            raise_interrupt=False,
            recursive=True,
            ignore_permission_denied=is_lenient,
        )
        prefix = os.path.join(self._root, "")
        for batch in changes:
            if not os.path.samestat(os.stat(self._root), watched):
                self._is_behind = True
                return
            if self._is_behind:
                self._is_behind = False  # the watch stands again
                self._on_gap(None)
            if not batch:
                continue
            self._wait_for_git()
            paths = {
                name[len(prefix) :] for _, name in batch if name.startswith(prefix)
            }
            self._on_paths(sorted(path.replace(os.sep, "/") for path in paths))

    def _is_watched(self, name: str) -> bool:
        relative = name[len(os.fspath(self._root)) + 1 :]
        return NEVER.isdisjoint(relative.split(os.sep))

    def _wait_for_git(self) -> None:
        """A checkout in progress is sent as one batch, when it is over."""
        lock = self._root / ".git" / "index.lock"
        deadline = time.monotonic() + _GIT_LOCK_S
        while lock.exists() and time.monotonic() < deadline:
            if self._stop.wait(_GIT_LOOK_S):
                return


def _readable(root: Path) -> list[str]:
    """All folders that may be looked into. PermissionError: not even the first."""
    os.listdir(root)
    found = []
    for folder, inside, _ in os.walk(root):
        if folder == os.fspath(root):
            inside[:] = [name for name in inside if name not in NEVER]
        if not _NO_UTF8.search(folder):
            found.append(folder)
    return found


def _is_full(exc: Exception) -> bool:
    """Whether the system watches no more folders."""
    return any(word in str(exc) for word in ("inotify", "watch limit", "No space"))


def _as_problem(exc: Exception) -> Problem | None:
    if "Unable to decode path" in str(exc):
        return None  # a name that is not UTF-8: the survey names the file
    hint = "Saves from the editor still go out at once; other changes every 10 s."
    if "Too many open files" in str(exc):
        hint += " Raise fs.inotify.max_user_instances."
    elif _is_full(exc):
        hint += (
            " Raise fs.inotify.max_user_watches, or keep large folders, and links to"
            " such, out of the project: ignored ones count, too."
        )
    return Problem("", f"The project folder cannot be watched: {exc}.", hint)
