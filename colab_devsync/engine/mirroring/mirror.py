"""The mirror: which paths are dirty, which are on their way, what came back.

Lives on the engine thread; sends through an Uplink, remembers through the Store.
Work per save is in proportion to the save, never to the tree.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ...agent import wire
from ...core.config import SyncConfig
from ...core.events import Mirrored, Problem
from ...core.ignore import IgnoreRules
from ...core.plan import Known, LocalStat, accept_set
from ..loop import EngineLoop
from ..store import Store
from ..uplink import Uplink
from . import tree
from .conflicts import ConflictBook
from .deletions import Deletions
from .dispatch import Dispatch, Tally
from .refusals import Refusals
from .survey import Changed, Findings
from .transfer import DELTA_FROM, Item, Outcome, Ready, prepare

_AGAIN_S = 0.2  # a file that changes while it is read is tried again this much later


class _Hint(NamedTuple):
    """Why a path is dirty: since when (monotonic), and what a survey saw of it."""

    since: float
    stat: LocalStat | None = None


class Mirror:
    def __init__(
        self,
        root: Path,
        sync: SyncConfig,
        store: Store,
        loop: EngineLoop,
        *,
        on_mirrored: Callable[[Mirrored], None],
        on_stale: Callable[[str], None],
    ) -> None:
        self.root = root
        self._sync = sync
        self.store = store
        self.loop = loop
        self._early: set[str] = set()  # what the survey that runs has handed over
        self._on_mirrored = on_mirrored
        self._on_stale = on_stale
        self.uplink: Uplink | None = None
        self.rules: IgnoreRules | None = None  # None until the first survey
        self.problems: dict[str, Problem] = {}
        self.walk_errors: list[Problem] = []
        self.alike: list[Problem] = []
        self.total = Tally()
        self.dispatch = Dispatch(root, store, loop, self._ended)
        self.conflicts = ConflictBook(root, store, loop)
        self.deletions = Deletions(self)
        self.refusals = Refusals(self)
        self._dirty: dict[str, _Hint] = {}
        self._parked: dict[str, _Hint] = {}  # wait for a flight to land
        self._later: set[str] = set()  # wait for a timer
        self._forced: set[str] = set()  # send even if nothing changed here
        # Hashes that are acceptable on the VM too: a person said so.
        self._extra: dict[str, str] = {}
        self._guess: dict[str, str] = {}  # what an unknown VM holds

    # --- what happened ------------------------------------------------------------

    def touched(self, path: str, since: float | None = None) -> None:
        """Look at this path again."""
        if path in self.conflicts:
            return
        hint = self._dirty.setdefault(path, _Hint(since or time.monotonic()))
        if hint.stat is not None:  # it changed after the walk
            self._dirty[path] = _Hint(hint.since)

    def insist(self, path: str, accept: str | None = None) -> None:
        """Bring this path up to date whatever we believe; `accept` may be replaced."""
        self._forced.add(path)
        if accept is not None:
            self._extra[path] = accept
        self.touched(path)

    def attach(self, uplink: Uplink) -> None:
        """A link is there: what was on its way is sent again."""
        self.uplink = uplink
        for path in list(self.store.sent):
            if tree.look(self.root, path) is None:
                self.deletions.add(path)
            else:
                self.insist(path)

    def use(self, sync: SyncConfig) -> None:
        """Other rules from now on; nothing is sent until a survey brings them."""
        self._sync = sync
        self.rules = None
        self._early.clear()

    def detach(self) -> None:
        self.uplink = None

    def forget_vm(self) -> None:
        """Another VM: nothing is there, nothing is owed."""
        self.store.forget_vm()
        self.conflicts.reload()
        self.deletions.clear()
        self._extra.clear()
        self._guess.clear()

    def retry(self) -> None:
        """Somebody asked for a sync: what was refused or declined may go now."""
        self.deletions.ask_again()
        self.conflicts.drop_settled()
        self.retry_refused()

    def retry_refused(self) -> None:
        """What the VM refused may go through now."""
        self.deletions.refused.clear()
        problems, self.problems = self.problems, {}
        for path in problems:
            self.touched(path)

    def apply_early(self, changed: Changed) -> None:
        """Takes over what a survey has seen to be new or different here so far."""
        self._early.update(changed)
        self._take_changed(changed)

    def _take_changed(self, changed: Changed) -> None:
        now = time.monotonic()
        for path, stat in changed.items():
            if path in self.conflicts or path in self._dirty:
                continue
            if not self.dispatch.is_sending(path, stat):
                self._dirty[path] = _Hint(now, stat)

    def apply(self, found: Findings, *, torn: bool) -> None:
        """Takes over what a survey found, unless the present has moved on."""
        self.rules = found.rules
        self.walk_errors = found.errors
        self.alike = found.alike
        self._guess.update(found.guess)
        early, self._early = self._early, set()
        changed = found.changed
        self._take_changed({p: s for p, s in changed.items() if p not in early})
        for path, problem in self.problems.items():
            if problem.severity == "warning" and path not in changed:
                self.touched(path)  # it may be over, and no event have said so
        for path in found.unwanted:
            self.store.acknowledge([], [path])
        for path, held in found.remote.items():
            # What was acknowledged since the survey's look, it does not know.
            known, believed = self.store.known.get(path), found.believed[path]
            if known is not None and known.hash == believed.hash:
                self._apply_remote(path, held, torn)
        self.deletions.note_walk(len(found.errors))
        if found.root_exists and not found.errors:
            self.deletions.add_all(found.missing, found.extra)
        elif found.missing:
            self.deletions.object_to_walk(found.root_exists, len(found.missing))

    def _apply_remote(self, path: str, held: str, torn: bool) -> None:
        known = self.store.known.get(path)
        if known is None or path in self.dispatch or held == known.hash:
            return
        if path in self.conflicts:
            if self.conflicts.drop_outdated(path, held):
                self.touched(path)  # the next put finds out how it stands now
            return
        if held in ("", "folder"):
            self.store.acknowledge([], [path])  # gone there: it is sent again
            self.touched(path)
        elif held in self.store.sent.get(path, ()) or torn:
            self.insist(path, held)
        elif self.conflicts.is_here(path, held):
            self.touched(path)  # both sides changed alike
        else:
            self.conflicts.add(path, known.hash, held, self.uplink)

    # --- what is to be done -------------------------------------------------------

    def is_at_rest(self) -> bool:
        """Nothing dirty, nothing on its way; conflicts and problems wait for people."""
        return (
            not (self._dirty or len(self.dispatch) or self._later)
            and not self.conflicts.is_fetching
            and self.deletions.is_at_rest()
        )

    def pending(self) -> int:
        # What is parked is on its way as well.
        on_files = len(self._dirty) + len(self.dispatch) + len(self._later)
        return on_files + len(self.deletions)

    def would_send(self, path: str) -> bool:
        """Whether a path that looks changed really is; reads and hashes it."""
        stat, known = tree.look(self.root, path), self.store.known.get(path)
        if stat is None or path in self.conflicts:
            return False
        if tree.objection(path, stat, self.root, self._sync.max_file_size) is not None:
            return False
        if known is None:
            return True
        item = Item(path, stat, [known.hash], executable=known.stat.executable)
        step = prepare(self.root, item)
        return isinstance(step, Ready) or step.status != "ok"

    def all_problems(self) -> Iterable[Problem]:
        """What a person should know, worst first."""
        if self.deletions.halted is not None:
            yield self.deletions.halted
        yield from sorted(
            self.problems.values(), key=lambda one: (one.severity, one.path)
        )
        if self.rules is not None:
            yield from self.walk_errors
            yield from self.alike

    def pump(self) -> None:
        """Sends what can be sent now."""
        if self.uplink is None:
            return
        if self.rules is None:  # only what the first survey has handed over may go
            if self._early and (items := self._collect()):
                self.dispatch.send(items, self.uplink)
            return
        self.deletions.pump()
        items = self._collect()
        if items:
            self.dispatch.send(items, self.uplink)
        elif self.is_at_rest():
            self.dispatch.settle()

    def _collect(self) -> list[Item]:
        items = []
        if not self.dispatch.has_room():
            return []
        for path, hint in list(self._dirty.items()):
            if path in self.conflicts:
                del self._dirty[path]
                continue
            if self.rules is None and hint.stat is None:
                continue  # it may be ignored
            if self.dispatch.must_wait(path):
                self._parked[path] = self._dirty.pop(path)
                continue
            room = self.deletions.room_for(path)
            if not room:
                continue
            hint = self._dirty.pop(path)
            if isinstance(room, Problem):
                self.problems[path] = room
                continue
            item = self._item(path, hint)
            if item is not None and self.dispatch.must_wait(path, item.stat.size):
                self._parked[path] = hint
                continue
            self._forced.discard(path)
            if item is not None:
                items.append(item)
        return items

    def _item(self, path: str, hint: _Hint) -> Item | None:
        """What to send for a dirty path; None if there is nothing (any more)."""
        stat = hint.stat or tree.look(self.root, path)
        known, sent = self.store.known.get(path), self.store.sent.get(path, ())
        forced = path in self._forced
        if stat is None:
            self.problems.pop(path, None)
            if known is not None or sent:
                self.deletions.add(path)
            return None
        if hint.stat is None and self.rules and self.rules.ignores(path, is_dir=False):
            self.problems.pop(path, None)
            return None
        problem = tree.objection(path, stat, self.root, self._sync.max_file_size)
        if problem is not None:
            self.problems[path] = problem
            return None
        if not forced and not sent and known is not None and known.is_current(stat):
            return None
        extra = [self._extra[path]] if path in self._extra else []
        return Item(
            path,
            stat,
            accept_set(known, sent, extra),
            base=known.hash if known else "",
            executable=known.stat.executable if known else None,
            remote=self._guess.pop(path, None) if known is None else None,
            resume=bool(sent),
            flying=None if forced else self.dispatch.newest(path),
            since=hint.since,
            is_save=hint.stat is None,
        )

    # --- what came back -----------------------------------------------------------

    def _ended(self, outcomes: Sequence[Outcome]) -> None:
        done = [one for one in outcomes if one.status == "ok" and one.known is not None]
        self._acknowledge(done)
        for one in outcomes:
            if one.item.path in self._parked:
                self._dirty.setdefault(one.item.path, self._parked.pop(one.item.path))
        for one in outcomes:
            if one.status == "ok":
                self._report(one)
            elif one.status != "flying":
                self._follow_up(one)

    def _acknowledge(self, done: Sequence[Outcome]) -> None:
        files: list[tuple[str, Known]] = []
        for one in done:
            assert one.known is not None
            files.append((one.item.path, one.known))
            self._extra.pop(one.item.path, None)
            self.problems.pop(one.item.path, None)
            self.refusals.settled(one.item.path)
            if one.item.path in self.conflicts:
                # Refused before the person chose; then what was chosen arrived.
                self.conflicts.drop(one.item.path)
        if not files:
            return
        still = self.dispatch.still_sent(path for path, _ in files)
        self.store.acknowledge(files, still_sent=still)
        for one in done:
            known, signature = one.known, one.signature
            if signature is not None and known and one.item.stat.size >= DELTA_FROM:
                self.store.keep_signature(one.item.path, known.hash, signature)

    def _report(self, one: Outcome) -> None:
        if one.sent is not None:  # an empty file is one, too
            self.total.files += 1
            self.total.bytes += one.item.stat.size
            self.total.wire += one.sent
            if not one.item.is_save:
                return  # a whole tree is told as progress, not file by file
            ms = (time.monotonic() - one.item.since) * 1000
            self._on_mirrored(Mirrored(one.item.path, one.sent, round(ms, 3)))

    def _follow_up(self, one: Outcome) -> None:
        path = one.item.path
        if one.status == "lost":
            self.insist(path)
        elif one.status == "again":
            self._again(one)
        elif one.status == "gone":
            self.touched(path)
        elif one.status == "conflict":
            self._conflict(one)
        elif one.status == "stale":
            self._on_stale(one.reason)
            self.insist(path)
        else:
            self.refusals.add(path, one.reason, one.item.stat.size)

    def _again(self, one: Outcome) -> None:
        path = one.item.path
        if one.reason == wire.NEED_FULL:
            self.store.drop_signature(path)
        self._later.add(path)

        def later() -> None:
            self._later.discard(path)
            self.insist(path)

        self.loop.after(0.0 if one.reason == wire.NEED_FULL else _AGAIN_S, later)

    def _conflict(self, one: Outcome) -> None:
        path = one.item.path
        if one.held == "folder":
            inside = [p for p in self.store.known if p.startswith(path + "/")]
            if inside and not any(tree.look(self.root, p) for p in inside):
                self.deletions.send(inside)
                self.insist(path)
                return
            self.refusals.add_folder(path, one.item.stat.size)
            return
        self.problems.pop(path, None)
        self.store.drop_sent(path)
        if one.held == "":  # deleted there meanwhile: nothing to lose, ours goes
            self.store.acknowledge([], [path])
            self.insist(path)
            return
        local = one.known.hash if one.known else None
        self.conflicts.add(path, local, one.held, self.uplink)
