"""One pull rule: what the VM has, what is here, what is on its way, what is wrong.

State of the worker's thread; decides nothing that `core/pulls.py` can decide.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ...core.config.schema import PullConfig
from ...core.events import Problem
from ...core.pulls import (
    PullInfo,
    PullResult,
    PullState,
    Remote,
    Version,
    newest_first,
    surplus,
)
from ...remote.pulling import Look
from .incoming import Incoming
from .landing import Landed, Landing
from .record import Pulled, Record
from .small import Batch
from .standing import Standing

RETRY_S = 30.0  # before what failed is tried again
_ROOM_S = 2.0  # the same, if it was for want of room and there is room now
_MOST_PROBLEMS = 20  # that are told one by one
_JITTER_S = 2.0  # of the VM's clock as we see it
Busy = Incoming | Batch | None
"""What brings a file; None: it is being found out what has to be brought."""


class Failed(NamedTuple):
    """A version that could not be brought, and until when it rests."""

    version: Version
    problem: Problem
    until: float
    needs: int  # free bytes here that would help; 0: it is not for want of room


class Rule:
    def __init__(
        self, root: Path, config: PullConfig, place: str, record: Record
    ) -> None:
        """`place`: the folder on the VM, absolute."""
        self.config = config
        self.place = place
        self.record = record
        self.landing = Landing(root, config, place, record.owner)
        self.pulled = record.pulled(config.name)
        self.there: dict[str, Remote] = {}
        self.busy: dict[str, Busy] = {}
        self.failed: dict[str, Failed] = {}
        self.conflicts: dict[str, Problem] = {}
        self.is_known = False  # the VM has told what it has
        self.is_outdated = False  # it has other versions than it told
        self.is_again = False  # what somebody deleted here is wanted, too
        self.state, self.message = "watching", ""
        self.writing = 0
        self.links: tuple[str, ...] = ()
        self.came = PullResult(0, 0)  # since somebody asked last
        self._stood: Standing | None = None  # while nothing has changed
        self._clock_off = 0.0  # seconds the VM's clock is ahead of ours
        self.sweep()

    @property
    def name(self) -> str:
        return self.config.name

    def about(self, path: str, remote: Remote) -> list[object]:
        """A file as the agent knows it."""
        return [self.place, path, *remote.version, remote.grows]

    # --- what is there, what is here ----------------------------------------------

    def looked(self, look: Look) -> None:
        self.is_known = True
        self.state, self.message, self.writing = look.state, look.message, look.writing
        self.links = look.links
        ahead = look.now - time.time()
        if abs(ahead - self._clock_off) > _JITTER_S:
            self._clock_off = ahead
        for path in look.gone:
            self.there.pop(path, None)
            self._drop_part(path)
        self.there.update(look.files)
        self._stood = None
        self._drop_parts()
        for path in [*look.gone, *look.files]:
            self.failed.pop(path, None)

    def forget_vm(self) -> None:
        """Another link: it will tell anew what there is."""
        self.is_known, self._stood = False, None
        self.there = {}
        self.writing = 0

    def refresh(self) -> None:
        """What somebody deleted here is not here."""
        for one in list(self.pulled.values()):
            if one.local is not None and not one.local.exists():
                self._note(self.record.dropped(one))

    def _note(self, one: Pulled) -> None:
        stood = self._stood
        if stood is not None and not stood.goes_along(self.there, self.pulled, one):
            self._stood = None
        self.pulled[one.path] = one

    def goes_on(self, one: Pulled) -> None:
        """This VM's file begins with what is here, whichever VM had that."""
        self.pulled[one.path] = replace(one, vm=self.landing.vm)

    def here(self) -> dict[str, Version]:
        return {
            one.path: one.version
            for one in self.pulled.values()
            if one.local is not None
        }

    def to_fetch(self) -> dict[str, int]:
        """What is wanted and not here, the newest first, with the sizes; busy ones
        too. Not to be changed."""
        return self._standing().fetch

    def _standing(self) -> Standing:
        if self._stood is None or self._stood.is_again != self.is_again:
            keep = self.config.keep
            self._stood = Standing.of(self.there, self.pulled, keep, self.is_again)
        return self._stood

    def startable(self, order: Iterable[str]) -> Iterator[str]:
        """Those that nothing is done about yet."""
        now = time.monotonic()
        room = self._room_now(now)
        for path in order:
            if path not in self.busy and not self._is_resting(path, now, room):
                yield path

    def _room_now(self, now: float) -> int:
        """Free bytes here, if that may help what rests."""
        may_help = any(one.needs and now < one.until for one in self.failed.values())
        return self.landing.room() if may_help else 0

    def _is_resting(self, path: str, now: float, room: int) -> bool:
        failed = self.failed.get(path)
        if failed is None or failed.version != self.there[path].version:
            return False
        if failed.needs and room >= failed.needs:
            return now < failed.until - RETRY_S + _ROOM_S
        return now < failed.until

    # --- ends ---------------------------------------------------------------------

    def landed(self, files: Iterable[Landed]) -> None:
        """They are here."""
        for landed in files:
            one = landed.pulled
            self._note(one)
            self.failed.pop(one.path, None)
            size = one.version.size
            self.came = PullResult(self.came.files + 1, self.came.bytes + size)
            if landed.problem is None:
                self.conflicts.pop(one.path, None)
            else:
                self.conflicts[one.path] = landed.problem
        self._keep_newest()

    def outdated(self, path: str, version: Version) -> None:
        """The VM has another version by now, and will tell when that is finished."""
        held = self.there.get(path)
        if held is not None and held.version == version:
            del self.there[path]
            self._stood = None
            self.is_outdated = True

    def _keep_newest(self) -> None:
        for path in surplus(self.here(), self.config.keep):
            one = self.pulled[path]
            self.landing.drop(one)  # what was changed here stays, and is not ours
            self._note(self.record.dropped(one))

    def fail(self, path: str, version: Version, why: str, needs: int = 0) -> None:
        """`needs`: free bytes here that would help."""
        hint = "It is tried again by itself."
        if needs:
            hint = "Make room on that disk, or set `keep` in [[pull]]; it comes then."
        text = f"It could not be pulled: {why}."
        problem = Problem(self.landing.shown(path), text, hint)
        until = time.monotonic() + RETRY_S
        self.failed[path] = Failed(version, problem, until, needs)

    def free_parts(self, path: str) -> bool:
        """Gives up parts of older files that nothing is done about, for this one;
        whether there were any."""
        mine, freed = self.there[path].version.mtime_ns, False
        for other in self._parts():
            remote = self.there.get(other)
            is_newer = remote is not None and remote.version.mtime_ns > mine
            held = self.record.part(self.name, other)
            if other != path and not is_newer and held:
                freed = self._drop_part(other) or freed
        return freed

    def _drop_parts(self) -> None:
        """Those of files that are there and that nobody will ask for again."""
        begun = [path for path in self._parts() if path in self.there]
        if not begun:
            return
        fetch = self.to_fetch()
        for path in begun:
            if path not in fetch:
                self._drop_part(path)

    def _drop_part(self, path: str) -> bool:
        """What is here of it, unless it is on its way; whether there was any."""
        held = None if path in self.busy else self.record.part(self.name, path)
        if held is None:
            return False
        self.record.drop_part(self.name, path)
        self.landing.forget(path, held[0])
        if not self.busy:
            self.landing.tidy()
        return True

    def forget_solved(self) -> None:
        """Conflicts of which somebody took one of the two files away."""
        for path in list(self.conflicts):
            mine, copy = self.landing.target(path), self.pulled[path].local
            if copy is None or not (os.path.lexists(mine) and os.path.lexists(copy)):
                del self.conflicts[path]

    @property
    def promised(self) -> int:
        """Bytes of the disk here for large files on their way."""
        busy = [one for one in self.busy.values() if isinstance(one, Incoming)]
        return sum(one.version.size - one.arrived for one in busy)

    def sweep(self) -> None:
        """Parts of which nothing is known are of no use."""
        parts = ((path, self.record.part(self.name, path)) for path in self._parts())
        self.landing.sweep(
            {self.landing.part(path, part[0]) for path, part in parts if part}
        )
        self.landing.tidy()

    def _parts(self) -> list[str]:
        return self.record.parts(self.name)

    # --- how it stands ------------------------------------------------------------

    def problems(self) -> list[Problem]:
        """All that a person should know."""
        found = [one.problem for one in self.failed.values()][:_MOST_PROBLEMS]
        if more := len(self.failed) - len(found):
            text = f"{more} more files could not be pulled, for such reasons."
            found.append(Problem(self.config.local, text, found[-1].hint))
        found += self.conflicts.values()
        found += [
            Problem(
                self.landing.shown(path),
                "It is a symbolic link on the VM that leads out of the pulled folder, "
                "to a folder or nowhere; it is not pulled.",
                severity="info",
            )
            for path in self.links
        ]
        return found if self.refusal is None else [*found, self.refusal]

    @property
    def refusal(self) -> Problem | None:
        """Why the VM's folder, or a folder in it, cannot be looked at."""
        if not self.message:
            return None
        what = self.place if self.state == "refused" else f"A folder in {self.place}"
        text = f"{what} on the VM cannot be watched: {self.message}."
        return Problem(self.config.local, text, "See `remote` in [[pull]].")

    def info(self, is_online: bool) -> PullInfo:
        now = self._standing()
        newest = self.pulled[now.newest] if now.newest is not None else None
        return PullInfo(
            name=self.name,
            remote=self.place,
            local=self.config.local,
            state=self._shown_state(is_online, bool(now.fetch)),
            here=now.here,
            waiting=len(now.fetch),
            waiting_bytes=self._left(now.fetch),
            only_there=now.only_there,
            writing=self.writing,
            newest=newest.path if newest else None,
            newest_at=self._here_time(newest) if newest else None,
            message=self._shown_message(is_online),
        )

    def _left(self, fetch: dict[str, int]) -> int:
        """Bytes of these files that are still to come."""
        left = sum(fetch.values())
        for path, one in self.busy.items():
            if isinstance(one, Incoming) and path in fetch:
                left -= min(one.arrived, fetch[path])
        return left

    def _here_time(self, one: Pulled) -> float:
        return round(one.version.mtime_ns / 1e9 - self._clock_off, 1)

    def _shown_state(self, is_online: bool, has_waiting: bool) -> PullState:
        if not is_online:
            return "offline"
        if self.message or self.failed:
            return "failed"
        if self.state == "absent":
            return "waiting"
        return "fetching" if has_waiting and self.busy else "watching"

    def _shown_message(self, is_online: bool) -> str | None:
        if is_online and self.is_known and self.state == "absent":
            return f"{self.place} is not there yet on the VM; waiting for it"
        if self.failed:
            return self._shown_failure()
        return self.refusal.message if self.refusal is not None else None

    def _shown_failure(self) -> str:
        """Of the newest file, what is wrong, and what to do."""
        path = newest_first({path: one.version for path, one in self.failed.items()})[0]
        problem, more = self.failed[path].problem, len(self.failed) - 1
        text = f"{problem.path}: {problem.message} {problem.hint}"
        return f"{text} ({more} more like it)" if more else text
