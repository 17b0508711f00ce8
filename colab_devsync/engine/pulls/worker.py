"""All pull rules of a session: looks at what the VM has, decides what is brought next.

Runs on a thread of its own, because disks and hashes take their time; other threads
post. Tells how things stand through `on_change`.
"""

from __future__ import annotations

import logging
import posixpath
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from ...core.config.schema import PullConfig
from ...core.events import Event, FilePulled, Problem
from ...core.pulls import PullInfo, Version, selection
from ...errors import DevsyncError, LinkLost, connection_closed
from ...remote.extras import load_extras
from ...remote.pulling import Look, WatchFeed, WatchOrder
from ..loop import EngineLoop
from ..uplink import Uplink
from .bring import Bring
from .fetcher import Fetcher, Item
from .incoming import Incoming
from .job import PullJob
from .landing import Landed
from .leftovers import clear
from .record import Record
from .rule import Rule
from .small import Batch, batched

_log = logging.getLogger(__name__)

SMALL = 256 << 10  # bytes; smaller files come many at once
_BATCHES = 6  # at a time
_LARGE = 3  # files at a time; one more if that is the newest of all
_PLAN_S = 0.02  # between two plans
_AGAIN_S = 1.0  # the same, while something is wrong
_TELL_S = 0.1  # between two messages about how it stands
_WATCH_AGAIN_S = 1.0
_NOBODYS = -1  # number of a look that no job waits for


class Worker:
    """`post` from any thread; the rest is its own thread's."""

    def __init__(
        self,
        root: Path,
        record: Record,
        *,
        on_change: Callable[[], None],
        when_told: Callable[[Callable[[], None]], None],
    ) -> None:
        """`when_told(step)` runs it when the world knows of the last change."""
        self._root = root
        self._record = record
        self._on_change = on_change
        self._when_told = when_told
        self._loop = EngineLoop("devsync-pull", lambda: None, self._failed)
        self.post = self._loop.post
        self._bring = Bring(self._loop, self._settled, self._promised)
        self._rules: dict[str, Rule] = {}
        self._uplink: Uplink | None = None
        self._feed: WatchFeed | None = None
        self._jobs: list[PullJob] = []
        self._orders = 0
        self._is_planned = self._is_told = self._is_again_due = False
        self.snapshot: tuple[PullInfo, ...] = ()
        self.problems: tuple[Problem, ...] = ()
        self.events: list[Event] = []
        self.events_lock = threading.Lock()
        self._loop.start()

    def close(self) -> None:
        """From another thread. What is on its way is left where it is."""
        self._loop.post(self._end)
        self._loop.stop(timeout_s=1.0)

    # --- rules and link -----------------------------------------------------------

    def use(self, configs: Sequence[PullConfig], remote_root: str) -> None:
        """These rules from now on; `remote_root`: the project's folder on the VM."""
        old, self._rules = self._rules, {}
        for config in configs:
            place = posixpath.join(remote_root, config.remote)
            rule = old.get(config.name)
            if rule is not None and (rule.config, rule.place) == (config, place):
                self._rules[config.name] = rule
            else:
                self._rules[config.name] = Rule(self._root, config, place, self._record)
        for name, rule in old.items():
            if self._rules.get(name) is not rule:
                _let_go(rule, keep=name in self._rules)
        clear(self._root, self._record, self._rules)
        self._watch()
        self._plan_soon()

    def link(self, uplink: Uplink | None) -> None:
        """Another link, or none."""
        if uplink is self._uplink:
            return
        self._uplink = uplink
        if self._bring.fetcher is not None:
            self._bring.fetcher.close()
            self._bring.fetcher = None
        if uplink is not None and self._rules:
            self._open(uplink)
        self._watch()
        self._plan_soon()

    def _open(self, uplink: Uplink) -> None:
        for rule in self._rules.values():
            rule.forget_vm()
        self._bring.fetcher = Fetcher(uplink, lambda: self.post(self._plan_soon))
        self._bring.fetcher.start()

    def _end(self) -> None:
        self.link(None)
        for rule in self._rules.values():
            _let_go(rule, keep=True)
        self.give_up(connection_closed())
        self._rules = {}

    def give_up(self, error: DevsyncError) -> None:
        """Nobody goes on looking for a link: who waits for files waits in vain."""
        for job in self._jobs:
            job.fail(error)
        self._jobs = []

    def _failed(self, exc: Exception) -> None:
        """A bug: whoever waits learns of it."""
        error = DevsyncError(f"Pulling failed inside: {exc!r}.", "See the log file.")
        self.give_up(error)

    # --- what the VM has ----------------------------------------------------------

    def _watch(self) -> None:
        """Listens anew."""
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.close()
        uplink = self._uplink
        if uplink is None or not self._rules:
            return
        if self._bring.fetcher is None:
            self._open(uplink)
        rules = list(self._rules.values())
        for rule in rules:
            rule.landing.vm = uplink.vm.marker
        threading.Thread(
            target=self._listen,
            args=(uplink, rules),
            name="devsync-pull-watch",
            daemon=True,
        ).start()

    def _listen(self, uplink: Uplink, rules: list[Rule]) -> None:
        """On its own thread, until the stream ends."""
        feed = None
        try:
            load_extras(uplink.client, "pulls")
            feed = WatchFeed(uplink.open_stream())
            feed.begin(
                [
                    WatchOrder(
                        one.place,
                        one.config.every,
                        selection(one.config.include),
                        selection(one.config.exclude),
                    )
                    for one in rules
                ]
            )
            self.post(partial(self._listening, uplink, rules, feed))
            while True:
                news = feed.next()
                self.post(partial(self._heard, feed, rules, news))
        except DevsyncError as exc:
            _log.debug("the news about files ended: %s", exc)
        finally:
            if feed is not None:
                feed.close()
            self.post(partial(self._deaf, uplink, feed))

    def _listening(self, uplink: Uplink, rules: list[Rule], feed: WatchFeed) -> None:
        if uplink is not self._uplink or rules != list(self._rules.values()):
            feed.close()
            return
        self._feed = feed
        for job in self._jobs:
            self._order(job)

    def _deaf(self, uplink: Uplink, feed: WatchFeed | None) -> None:
        """The news ended; while the link lives, somebody must listen."""
        if uplink is self._uplink and feed is self._feed:
            self._feed = None
            if not uplink.client.is_lost:
                self._loop.after(_WATCH_AGAIN_S, lambda: self._again(uplink))

    def _again(self, uplink: Uplink) -> None:
        if uplink is self._uplink and self._feed is None:
            self._watch()

    def _heard(self, feed: WatchFeed, rules: list[Rule], news: Look | int) -> None:
        if feed is not self._feed:
            return
        if isinstance(news, int):
            for job in self._jobs:
                if job.order == news:
                    job.is_seen = True
        else:
            rule = rules[news.rule]
            rule.looked(news)
            rule.refresh()
        self._plan_soon()

    # --- jobs ---------------------------------------------------------------------

    def pull(self, job: PullJob) -> None:
        """Everything finished on the VM, now."""
        rules = [self._rules[name] for name in job.names if name in self._rules]
        job.begin(rules)
        for rule in rules:
            rule.is_again = True
            rule.failed.clear()
            rule.refresh()
        self._jobs.append(job)
        if self._feed is not None:
            self._order(job)
        self._plan_soon()

    def _order(self, job: PullJob) -> None:
        assert self._feed is not None
        self._orders += 1
        job.order, job.is_seen = self._orders, False
        with suppress(LinkLost):  # then it is asked on the next link
            self._feed.order(job.order)

    def _look_again(self) -> None:
        """The VM has other versions than it told; the kernel there may not know."""
        if self._feed is not None:
            with suppress(LinkLost):
                self._feed.order(_NOBODYS)

    def _look_at_jobs(self) -> None:
        for job in list(self._jobs):
            rules = [self._rules[name] for name in job.names if name in self._rules]
            end = job.look(rules)
            if end is not None:
                self._jobs.remove(job)
                for rule in rules:
                    rule.is_again = False
                self._tell()
                self._when_told(end)

    # --- what comes next ----------------------------------------------------------

    def _plan_soon(self) -> None:
        if not self._is_planned:
            self._is_planned = True
            self._loop.after(_PLAN_S, self._plan)

    def _plan(self) -> None:
        self._is_planned = False
        fetcher = self._bring.fetcher
        if fetcher is not None and fetcher.is_ready:
            for rule in self._rules.values():
                if rule.is_known:
                    self._plan_rule(rule)
            fetcher.use(self._in_order())
        self._look_at_jobs()
        self._tell_soon()
        is_any_unwell = any(one.failed or one.conflicts for one in self._rules.values())
        if is_any_unwell and not self._is_again_due:
            self._is_again_due = True
            self._loop.after(_AGAIN_S, self._plan_again)

    def _plan_again(self) -> None:
        self._is_again_due = False
        for rule in self._rules.values():
            rule.forget_solved()
        self._plan_soon()

    def _promised(self) -> int:
        """Bytes of the disk here for what is on its way."""
        return sum(rule.promised for rule in self._rules.values())

    def _plan_rule(self, rule: Rule) -> None:
        sizes = rule.to_fetch()
        for item in _drop_outdated(rule):
            self._bring.release(item.about)
        large = [path for path, size in sizes.items() if size > SMALL]
        free = _LARGE - sum(not isinstance(one, Batch) for one in rule.busy.values())
        startable = list(rule.startable(large))
        if not free and startable[:1] == large[:1]:
            free = 1
        for path in startable[: max(0, free)]:
            self._bring.large(rule, path)
        batches = len({id(one) for one in rule.busy.values() if isinstance(one, Batch)})
        small = (path for path, size in sizes.items() if size <= SMALL)
        ready = ((path, sizes[path]) for path in rule.startable(small))
        for paths in batched(ready, _BATCHES - batches):
            self._bring.batch(rule, paths)

    def _in_order(self) -> list[Item]:
        """All that is on its way, the newest first."""
        ages: dict[int, tuple[int, Item]] = {}
        for rule in self._rules.values():
            for path, item in rule.busy.items():
                remote = rule.there.get(path)
                if item is None or remote is None:
                    continue
                age = -remote.version.mtime_ns
                held = ages.get(id(item))
                if held is None or age < held[0]:
                    ages[id(item)] = (age, item)
        return [item for _, item in sorted(ages.values(), key=lambda pair: pair[0])]

    def _settled(self, rule: Rule, landed: Sequence[Landed]) -> None:
        rule.landed(landed)
        for one in landed:
            pulled = one.pulled
            for job in self._jobs:
                job.note(pulled)
            with self.events_lock:
                self.events.append(
                    FilePulled(rule.name, pulled.path, pulled.version.size)
                )
        if not rule.busy:
            rule.landing.tidy()
        if rule.is_outdated:
            rule.is_outdated = False
            self._loop.after(_AGAIN_S, self._look_again)
        self._plan_soon()

    # --- telling ------------------------------------------------------------------

    def _tell_soon(self) -> None:
        if not self._is_told:
            self._is_told = True
            self._tell()
            self._loop.after(_TELL_S, self._tell_again)

    def _tell_again(self) -> None:
        self._is_told = False
        before = self.snapshot
        self._tell()
        if any(rule.busy for rule in self._rules.values()) or before != self.snapshot:
            self._tell_soon()

    def _tell(self) -> None:
        is_online = self._uplink is not None
        rules = self._rules.values()
        self.snapshot = tuple(rule.info(is_online) for rule in rules)
        self.problems = tuple(one for rule in rules for one in rule.problems())
        for job in self._jobs:
            job.report([rule for rule in rules if rule.name in job.names])
        self._on_change()


def _drop_outdated(rule: Rule) -> list[Incoming]:
    """What the VM has replaced is not brought; unless most of it is here: the VM can
    still read a version that it has replaced. What has begun is finished, though newer
    files came: else a program that writes faster than the link carries gets none home.
    """
    dropped = []
    for path, item in list(rule.busy.items()):
        if not isinstance(item, Incoming):
            continue
        held = rule.there.get(path)
        now = held.version if held is not None else None
        if now == item.version:
            continue
        if now is not None and _goes_on(item, now):
            continue
        item.abandon(keep=False)
        rule.record.drop_part(rule.name, path)
        del rule.busy[path]
        dropped.append(item)
    return dropped


def _goes_on(item: Incoming, now: Version) -> bool:
    is_same_file = now[:2] == item.version[:2] and now.size >= item.version.size
    return (is_same_file and bool(item.about[-1])) or (
        2 * item.arrived > item.version.size
    )


def _let_go(rule: Rule, *, keep: bool) -> None:
    for item in rule.busy.values():
        if isinstance(item, Incoming):
            item.abandon(keep=keep)
    rule.busy = {}
