"""Brings single files home: by copying, by their new end, from where it was, or whole.

On the worker's thread, but for what says otherwise. What takes long is done aside.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from ...core.pulls import Remote, Version
from ..loop import EngineLoop
from . import contents
from .fetcher import Fetcher
from .incoming import Incoming, Outcome, Ranges
from .landing import Landed, NoRoom, NotHere
from .record import Pulled
from .rule import Rule
from .small import Batch, Came, Small
from .together import land_together

_log = logging.getLogger(__name__)

T = TypeVar("T")
OnEnd = Callable[[Rule, Sequence[Landed]], None]


class Bring:
    def __init__(
        self, loop: EngineLoop, on_end: OnEnd, promised: Callable[[], int]
    ) -> None:
        """`on_end`: something about a rule's files is settled; these have landed.
        `promised`: bytes of the disk for what is on its way."""
        self._loop = loop
        self._promised = promised
        self._on_end = on_end
        self.fetcher: Fetcher | None = None

    # --- small ones ---------------------------------------------------------------

    def batch(self, rule: Rule, paths: Sequence[str]) -> None:
        files = [
            Small(path, rule.there[path].version, rule.about(path, rule.there[path]))
            for path in paths
        ]
        batch = Batch(files, partial(self._batch_came, rule))
        for path in paths:
            rule.busy[path] = batch

    def _batch_came(self, rule: Rule, batch: Batch, came: list[Came] | None) -> None:
        """On a lane's thread."""
        landed, others = land_together(rule, came or ())
        self._keep(rule, landed)
        self._loop.post(lambda: self._batch_ended(rule, batch, landed, others))

    def _batch_ended(
        self,
        rule: Rule,
        batch: Batch,
        landed: list[Landed],
        others: list[Came],
    ) -> None:
        for small in batch.files:
            if rule.busy.get(small.path) is batch:
                del rule.busy[small.path]
        for one in others:
            self._note(rule, one.file.path, one.file.version, one.outcome)
        self._on_end(rule, landed)

    # --- large ones ---------------------------------------------------------------

    def large(self, rule: Rule, path: str) -> None:
        """Begins with the cheapest way that may do."""
        remote = rule.there[path]
        if any(self._same_is_coming(rule, path, remote.version)):
            return  # when that is here, it is copied
        rule.busy[path] = None
        try:
            target = rule.landing.target(path)
            source = _same_file(rule, path, remote)
            known = rule.pulled.get(path)
            size = remote.version.size
            if source is not None:
                self._copy(rule, path, remote, source)
            elif known is not None and known.is_here and known.version.size <= size:
                self._probe(rule, path, remote, known)
            elif target.is_file() and target.stat().st_size == size:
                self._probe(rule, path, remote, None)
            else:
                self._begin(rule, path, remote)
        except (NotHere, OSError) as exc:
            self._fail(rule, path, remote, exc)

    def _same_is_coming(self, rule: Rule, path: str, version: Version) -> list[bool]:
        return [
            rule.there[other].version == version
            for other in rule.busy
            if other != path and other in rule.there
        ]

    def _probe(
        self, rule: Rule, path: str, remote: Remote, known: Pulled | None
    ) -> None:
        """Asks for the VM's hashes: is it what is here already, or that and more?"""
        if self.fetcher is None:
            del rule.busy[path]
            return
        points = sorted({known.version.size if known else 0, remote.version.size})

        def then(hashes: list[str] | None, why: str) -> None:
            self._loop.post(lambda: self._probed(rule, path, remote, hashes, why))

        form = contents.form_of(known.hash) if known else self.fetcher.form()
        self.fetcher.digests(rule.about(path, remote), points, form, then)

    def _probed(
        self,
        rule: Rule,
        path: str,
        remote: Remote,
        hashes: list[str] | None,
        why: str,
    ) -> None:
        held = rule.there.get(path)
        if hashes is None or held != remote:
            rule.busy.pop(path, None)
            if why == "changed":
                rule.outdated(path, remote.version)
            elif why:
                rule.fail(path, remote.version, why)
            self.release(rule.about(path, remote))
            self._on_end(rule, ())
            return
        known = rule.pulled.get(path)
        mine = known if known is not None and known.is_here else None

        def prepare() -> Path | str | None:
            """Aside: the file that has this content, or "" and a part that has its
            beginning, or nothing."""
            if mine is not None and mine.local is not None:
                content = _hash_of(mine, contents.form_of(hashes[-1]))
                if hashes[-1] == content:
                    return mine.local
                if hashes[0] == content:
                    _copy(mine.local, rule.landing.part(path, key_of(remote)))
                    return ""
                return None
            target = rule.landing.target(path)
            return target if contents.is_content(target, hashes[-1]) else None

        def then(found: Path | str | None) -> None:
            if isinstance(found, Path):
                self.release(rule.about(path, remote))
                landed = rule.landing.adopt(path, remote.version, hashes[-1], found)
                self._arrived(rule, path, landed)
            elif found == "" and mine is not None:
                rule.goes_on(mine)
                self._begin(rule, path, remote, have=[(0, mine.version.size)])
            else:
                self._begin(rule, path, remote)

        self._aside(rule, path, remote, prepare, then)

    def _copy(self, rule: Rule, path: str, remote: Remote, source: Pulled) -> None:
        """The VM has one file under two names: so it travels once."""
        part = rule.landing.part(path, key_of(remote))

        def work() -> Landed:
            assert source.local is not None
            _copy(source.local, part)
            if not contents.is_content(part, source.hash):
                raise NotHere(f"{source.local} was changed while it was copied")
            known = rule.pulled.get(path)
            return rule.landing.land(part, path, remote.version, source.hash, known)

        self._aside(
            rule, path, remote, work, lambda landed: self._arrived(rule, path, landed)
        )

    def _arrived(self, rule: Rule, path: str, landed: Landed) -> None:
        rule.busy.pop(path, None)
        self._keep(rule, [landed])
        self._on_end(rule, [landed])

    def _begin(
        self, rule: Rule, path: str, remote: Remote, have: Ranges | None = None
    ) -> None:
        """Fetches it, or what is missing of it."""
        key = key_of(remote)
        rule.landing.target(path)
        part = rule.landing.part(path, key)
        if have is None:
            have = _gathered(rule, path, key, part, remote.version.size)
        left = remote.version.size - sum(high - low for low, high in have)
        try:
            rule.landing.check_room(left, self._promised())
        except NoRoom:
            if not rule.free_parts(path):
                raise
            rule.landing.check_room(left, self._promised())
        rule.record.keep_part(rule.name, path, key, json.dumps(have))
        incoming = Incoming(
            path,
            remote.version,
            rule.about(path, remote),
            form=self.fetcher.form() if self.fetcher else contents.fast_form(),
            part=part,
            have=have,
            note=partial(rule.record.keep_part, rule.name, path, key),
            on_hungry=lambda: self._loop.post(lambda: self._on_end(rule, ())),
            on_end=lambda outcome: self._came(rule, incoming, outcome),
        )
        rule.busy[path] = incoming
        incoming.start()
        self._on_end(rule, ())

    def _came(self, rule: Rule, incoming: Incoming, outcome: Outcome) -> None:
        """On the file's own thread."""
        path, landed = incoming.path, []
        if outcome.content:
            try:
                known = rule.pulled.get(path)
                version = incoming.version
                content = outcome.content
                landed = [
                    rule.landing.land(incoming.part, path, version, content, known)
                ]
                self._keep(rule, landed)
            except (NotHere, OSError) as exc:
                outcome = Outcome.refused(exc, incoming.version.size)
        self._loop.post(lambda: self._ended(rule, incoming, outcome, landed))

    def _ended(
        self, rule: Rule, incoming: Incoming, outcome: Outcome, landed: list[Landed]
    ) -> None:
        path = incoming.path
        if rule.busy.get(path) is incoming:
            del rule.busy[path]
        if outcome.changed or outcome.damaged:
            rule.record.drop_part(rule.name, path)
            incoming.part.unlink(missing_ok=True)
        if outcome.damaged and incoming.is_resumed and self._anew(rule, incoming):
            return
        self.release(incoming.about)
        if not landed:
            self._note(rule, path, incoming.version, outcome)
        self._on_end(rule, landed)

    def _anew(self, rule: Rule, incoming: Incoming) -> bool:
        """What was here from before is not what the VM has: once more, without it.
        False if that cannot be now."""
        path, remote = incoming.path, rule.there.get(incoming.path)
        if self.fetcher is None or path in rule.busy:
            return False
        if remote is None or remote.version != incoming.version:
            return False
        _log.info("what was here of %s is not what the VM has; fetching it anew", path)
        rule.busy[path] = None
        try:
            self._begin(rule, path, remote, have=[])
        except (NotHere, OSError) as exc:
            self._fail(rule, path, remote, exc)
        return True

    # --- ends ---------------------------------------------------------------------

    def release(self, about: list[object]) -> None:
        """The VM need not hold this version open any longer."""
        if self.fetcher is not None:
            self.fetcher.drop(about)

    def _note(self, rule: Rule, path: str, version: Version, outcome: Outcome) -> None:
        if outcome.changed:
            rule.outdated(path, version)
        elif outcome.damaged:
            rule.fail(path, version, "what came is not what the VM has")
        elif outcome.problem:
            rule.fail(path, version, outcome.problem, outcome.needs)

    def _fail(
        self, rule: Rule, path: str, remote: Remote, exc: NotHere | OSError
    ) -> None:
        rule.busy.pop(path, None)
        outcome = Outcome.refused(exc, remote.version.size)
        self._note(rule, path, remote.version, outcome)
        self._on_end(rule, ())

    def _keep(self, rule: Rule, landed: Sequence[Landed]) -> None:
        """Any thread: on disk, then in the record."""
        rule.landing.sync(landed)
        if landed:
            rule.record.keep(one.pulled for one in landed)

    def _aside(
        self,
        rule: Rule,
        path: str,
        remote: Remote,
        work: Callable[[], T],
        then: Callable[[T], None],
    ) -> None:
        """`work` on a thread of its own, `then` on ours."""

        def succeed(value: T) -> None:
            try:
                then(value)
            except (NotHere, OSError) as exc:
                self._fail(rule, path, remote, exc)

        def run() -> None:
            try:
                value = work()
            except (NotHere, OSError) as exc:
                failure = exc
                self._loop.post(lambda: self._fail(rule, path, remote, failure))
            else:
                self._loop.post(lambda: succeed(value))

        threading.Thread(target=run, name="devsync-pull-copy", daemon=True).start()


def key_of(remote: Remote) -> str:
    """Tells parts of versions apart. What grows keeps its beginning."""
    version = remote.version
    numbers = version[:2] if remote.grows else version
    return ":".join(map(str, numbers))


def _same_file(rule: Rule, path: str, remote: Remote) -> Pulled | None:
    """What was pulled already of the same file under another name."""
    for other in rule.pulled.values():
        if other.path != path and other.version == remote.version and other.is_here:
            return other
    return None


def _hash_of(mine: Pulled, form: str) -> str:
    """Of the file as it stands here, in another form if need be. OSError."""
    if contents.form_of(mine.hash) == form:
        return mine.hash
    assert mine.local is not None
    return contents.hash_of(mine.local, form)


def _gathered(rule: Rule, path: str, key: str, part: Path, size: int) -> Ranges:
    """What is here of it from before."""
    noted = rule.record.part(rule.name, path)
    if noted is None or noted[0] != key or not part.exists():
        part.unlink(missing_ok=True)
        return []
    ranges: Ranges = [(low, min(high, size)) for low, high in json.loads(noted[1])]
    return [(low, high) for low, high in ranges if low < high]


def _copy(source: Path, part: Path) -> None:
    """Half a copy would only fill the disk. OSError."""
    try:
        shutil.copyfile(source, part)
    except OSError:
        part.unlink(missing_ok=True)
        raise
