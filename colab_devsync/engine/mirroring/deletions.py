"""Deletions: gathered, checked once more, guarded, then sent. On the engine thread.

They wait a moment, because many editors save by deleting and creating; and they go
out only for files of ours whose content on the VM we know.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ...agent import wire
from ...core.events import Ask, Problem, Question
from ...core.plan import accept_set
from ...core.safety import RootState, objection
from ...remote.client import Reply
from ..loop import EngineLoop, Timer
from . import tree

if TYPE_CHECKING:
    from .mirror import Mirror
    from .survey import Findings

_QUIET_S = 0.25  # since the last hint; a save by rename is over by then
_CHUNK = 1000  # paths per frame
_ROOT_KEY = "root"

AskDelete = Callable[[str, Sequence[str], Callable[[bool], None]], None]
"""(objection, paths, answer): asks a person elsewhere, answers on the engine thread."""


class Deletions:
    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._wanted: dict[str, str | None] = {}  # path -> hash on the VM, if not ours
        self._flights: set[str] = set()
        self._held_back: dict[str, str | None] = {}  # a person has to say yes
        self._declined: set[str] = set()  # a person said no
        self._is_asking = False
        self._due = 0.0
        self._timer: Timer | None = None
        self._walk_errors = 0
        self.refused: set[str] = set()  # by the VM, until somebody asks again
        self.ask: AskDelete = lambda why, paths, answer: answer(False)
        self.halted: Problem | None = None

    def __len__(self) -> int:
        return len(self._wanted) + len(self._flights)

    def is_at_rest(self) -> bool:
        return not (self._wanted or self._flights or self._is_asking)

    def clear(self) -> None:
        self._wanted.clear()
        self._held_back = {}  # a late answer is about another VM
        self.halted = None

    def add(self, path: str, held: str | None = None) -> None:
        """A candidate. `held`: what the VM has there, if the file was never ours."""
        self._wanted[path] = held
        self._due = time.monotonic() + _QUIET_S
        if self._timer is None or self._timer.is_cancelled:
            self._timer = self._mirror.loop.after(_QUIET_S, self._tick)

    def add_all(self, paths: Iterable[str], extra: Mapping[str, str]) -> None:
        """The candidates a whole walk found; they replace what was held back."""
        if not self._is_asking:
            self._held_back = {}
        self.halted = None
        for path in paths:
            self.add(path)
        for path, held in extra.items():
            if held:
                self.add(path, held)

    def preview(self, found: Findings) -> list[str]:
        """What a walk's findings would delete on the VM, if all were done now."""
        if found.errors or not found.root_exists:
            return []
        # What was changed there would become a conflict.
        spared = (found.remote, self._mirror.conflicts)
        ours = (p for p in found.missing if not any(p in one for one in spared))
        return [*ours, *(path for path, held in found.extra.items() if held)]

    def ask_again(self) -> None:
        """Somebody asked for a sync: a no may have become a yes."""
        self._declined.clear()

    def note_walk(self, errors: int) -> None:
        self._walk_errors = errors

    def object_to_walk(self, root_exists: bool, count: int) -> None:
        """The walk is no proof: nothing is deleted, and that is said."""
        state = RootState(exists=root_exists, walk_errors=self._walk_errors)
        self._halt(objection(count, len(self._mirror.store.known), state) or "", count)

    def _tick(self) -> None:
        self._timer = None
        wait = self._due - time.monotonic()
        if self._wanted and wait > 0:
            self._timer = self._mirror.loop.after(wait, self._tick)

    # --- guard --------------------------------------------------------------------

    def pump(self) -> None:
        """Sends what has been quiet long enough."""
        if not self._wanted or self._is_asking or time.monotonic() < self._due:
            return
        gone = {p: held for p, held in self._wanted.items() if self._is_gone(p, held)}
        self._wanted = {}
        if not gone:
            return
        why = objection(len(gone), len(self._mirror.store.known), self._root_state())
        if why is None:
            self._send(gone)
        elif gone.keys() <= self._declined:
            self._halt(why, len(gone))  # an audit found them again: do not nag
        else:
            self._ask(why, gone)

    def _is_gone(self, path: str, held: str | None) -> bool:
        """Whether it is still absent here, and still something we may delete there."""
        if tree.look(self._mirror.root, path) is not None:
            self._mirror.touched(path)
            return False
        store = self._mirror.store
        if held is None and path in self._mirror.conflicts:
            return False
        return held is not None or path in store.known or path in store.sent

    def _root_state(self) -> RootState:
        identity = root_identity(self._mirror)
        first = self._mirror.store.get(_ROOT_KEY)
        return RootState(
            exists=identity is not None,
            same_folder=first is None or identity is None or first == identity,
            walk_errors=self._walk_errors,
        )

    def _ask(self, why: str, gone: dict[str, str | None]) -> None:
        self._is_asking = True
        self._held_back = gone

        def answer(yes: bool) -> None:
            self._is_asking = False
            if self._held_back is not gone:
                return
            if yes:
                remember_root(self._mirror)
                self.halted = None
                self._held_back = {}
                # Files may have come back while the question stood.
                for path in gone:
                    self._wanted.pop(path, None)
                still = {p: h for p, h in gone.items() if self._is_gone(p, h)}
                self._send(still)
            else:
                self._declined.update(gone)
                self._halt(why, len(gone))

        self.ask(why, list(gone), answer)

    def _halt(self, why: str, count: int) -> None:
        self.halted = Problem(
            "",
            f"{count} deletions are held back: {why}. The VM keeps these files.",
            "Bring the files back, or run `colab-devsync sync` and answer yes.",
            "error",
        )

    def room_for(self, path: str) -> bool | Problem:
        """Whether the VM has room for this path. False while a file of ours is being
        deleted that stands where a folder is needed; a Problem if it stays."""
        above = path.rpartition("/")[0]
        while above:
            is_known = above in self._mirror.store.known  # as a file
            if is_known and tree.look(self._mirror.root, above) is None:
                if above not in self._mirror.conflicts and above not in self.refused:
                    self.send([above])
                    return False
                return Problem(
                    path,
                    f"{path}: not on the VM: {above} is a file there and stays so far.",
                    f"Resolve the conflict about {above}, or remove it on the VM.",
                    "error",
                )
            above = above.rpartition("/")[0]
        return True

    # --- sending ------------------------------------------------------------------

    def send(self, paths: Sequence[str]) -> None:
        """Deletes files of ours now, unasked: something else needs their place."""
        gone = {path: self._wanted.pop(path, None) for path in paths}
        self._send({p: held for p, held in gone.items() if p not in self._flights})

    def again(self, gone: Mapping[str, str | None]) -> None:
        """Those that the VM refused, with what it holds; nobody need be asked anew."""
        self.refused.difference_update(gone)
        left = {path: held for path, held in gone.items() if self._is_gone(path, held)}
        if left:
            self._send(left)

    def _send(self, gone: Mapping[str, str | None]) -> None:
        uplink = self._mirror.uplink
        if uplink is None:
            self._wanted.update(gone)
            return
        paths = list(gone)
        for at in range(0, len(paths), _CHUNK):
            chunk = paths[at : at + _CHUNK]
            self._flights.update(chunk)
            wanted = [(path, self._accept(path, gone[path])) for path in chunk]

            def replied(reply: Reply, chunk: list[str] = chunk) -> None:
                self._mirror.loop.post(lambda: self._ended(chunk, gone, reply))

            uplink.client.send({"op": "delete", "paths": wanted}, b"", replied)

    def _accept(self, path: str, held: str | None) -> list[str]:
        store = self._mirror.store
        extra = [held] if held is not None else []
        return accept_set(store.known.get(path), store.sent.get(path, ()), extra)

    def _ended(
        self, paths: Sequence[str], gone: Mapping[str, str | None], reply: Reply
    ) -> None:
        self._flights.difference_update(paths)
        if reply.error is not None:
            for path in paths:
                self.add(path, gone[path])
            return
        deleted = []
        for path, (status, held, reason) in zip(
            paths, reply.meta()["results"], strict=True
        ):
            if status in (wire.OK, wire.SAME):
                deleted.append(path)
            elif status == wire.CONFLICT:
                self._mirror.conflicts.add(path, None, held, self._mirror.uplink)
            else:
                self.refused.add(path)
                self._mirror.refusals.add_deletion(path, reason, gone[path])
        still = self._mirror.dispatch.still_sent(deleted)
        self._mirror.store.acknowledge([], deleted, still)
        self._mirror.total.deleted += len(deleted)
        for path in deleted:
            self._mirror.refusals.settled(path)


def ask_elsewhere(
    ask: Ask,
    loop: EngineLoop,
    why: str,
    paths: Sequence[str],
    answer: Callable[[bool], None],
) -> None:
    """Asks on a thread made for it; `answer` runs on the engine thread."""
    shown = ", ".join(paths[:5]) + (", …" if len(paths) > 5 else "")
    text = (
        f"Delete {len(paths)} files on the VM ({shown})? They are gone here, but {why}."
    )
    question = Question("mass-delete", text, ("yes", "no"), safe="no")

    def run() -> None:
        yes = ask(question) == "yes"
        loop.post(lambda: answer(yes))

    threading.Thread(target=run, name="devsync-ask", daemon=True).start()


def root_identity(mirror: Mirror) -> str | None:
    """What tells the project folder from another one at the same path."""
    try:
        about = os.stat(mirror.root)
    except OSError:
        return None
    return f"{about.st_dev}:{about.st_ino}"


def remember_root(mirror: Mirror) -> None:
    identity = root_identity(mirror)
    if identity is not None:
        mirror.store.set(_ROOT_KEY, identity)
