"""Checkpoints go back to a VM: the newest that were pulled, to where they came from.

Never by itself: a new VM is a reason to offer it. What stands there already is
replaced only when a person says so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from ...core.config import Config, PullConfig
from ...core.events import Ask, OnProgress, Problem, Question
from ...core.pushing import PushResult, PushSpec, Skipped
from ...errors import ConfigError
from .. import places
from ..access import Access
from ..link_watch import LinkWatch
from ..pulls.record import Record, by_age
from ..reach import Reach
from .listing import Listing, Source, list_local, shown
from .order import Order
from .push import Push

MOST = 5  # files of a rule whose `keep` is 0
_SHOWN = 5
_CONNECT_S = 60.0
_REPLACE, _KEEP = "Replace them", "Keep the VM's"
_VM = "checkpoints_vm"  # marker of the VM that was online last


class Restore:
    """`run` from a thread of its own; the rest on the engine thread."""

    def __init__(self, root: Path, profile: str | None, ask: Ask) -> None:
        self._root = root
        self._profile = profile
        self._ask = ask
        self.offer: Problem | None = None

    def look(self, reach: Reach) -> None:
        """Another uplink is there: is it a VM that has lost what was pulled?"""
        uplink, store, config = reach.uplink, reach.store, reach.config
        if uplink is None or store is None or config is None:
            return
        before = store.get(_VM)
        store.set(_VM, uplink.vm.marker)
        if before in (None, uplink.vm.marker) or not config.pull:
            return
        found = self._newest(config, None)
        count = sum(len(listing.sources) for _, listing in found)
        self.offer = _offer(count, [rule.name for rule, _ in found]) if count else None

    def run(
        self,
        access: Access,
        watch: LinkWatch,
        name: str | None,
        progress: OnProgress,
        cancel: threading.Event,
    ) -> PushResult:
        began = time.monotonic()
        access.uplink(_CONNECT_S)  # with it, the configuration has been read
        found = self._newest(access.config, name)
        results = []
        for rule, listing in found:
            if not listing.sources:
                nothing = PushResult("", 0, 0, 0, 0, skipped=tuple(listing.skipped))
                results.append(nothing)
                continue
            spec = PushSpec(self._root / rule.local, rule.remote)
            results.append(
                Push(
                    Order(spec, progress, cancel),
                    access,
                    watch,
                    listing=listing,
                    may_replace=self._may_replace,
                ).run()
            )
        self.offer = None
        return _together(results, time.monotonic() - began)

    def _newest(
        self, config: Config, name: str | None
    ) -> list[tuple[PullConfig, Listing]]:
        """Per rule, what is here of the newest files that were pulled. ConfigError."""
        rules = [rule for rule in config.pull if name in (None, rule.name)]
        if not rules:
            known = ", ".join(rule.name for rule in config.pull)
            raise ConfigError(
                f"There is no pull rule {name!r}."
                if name
                else "There is no pull rule.",
                f"There is: {known}." if known else "Checkpoints need [[pull]] rules.",
            )
        record = Record(places.project_state_dir(self._root, self._profile))
        try:
            return [(rule, _listing(record, rule)) for rule in rules]
        finally:
            record.close()

    def _may_replace(self, paths: Sequence[str]) -> bool:
        more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        text = (
            "The VM has other files than those that were pulled: "
            f"{', '.join(paths[:_SHOWN])}{more}. Replace them with yours?"
        )
        question = Question("overwrite", text, (_REPLACE, _KEEP), _KEEP)
        return self._ask(question) == _REPLACE


def _listing(record: Record, rule: PullConfig) -> Listing:
    """Its newest files; what is not as it was pulled is left out, and named."""
    listing = Listing(is_folder=True)
    most = rule.keep or MOST
    newest = record.newest(rule.name, most)
    last = by_age(newest[-1]) if len(newest) == most else None
    for one in record.altered(rule.name):
        if last is None or by_age(one) < last:
            reason = "it was changed here since it was pulled"
            listing.skipped.append(Skipped(shown(one.path), reason))
    for one in newest:
        if one.local is not None:
            (source,) = list_local(one.local).sources
            listing.sources.append(_named(source, one.path))
    return listing


def _named(source: Source, path: str) -> Source:
    facts = (source.size, source.mtime_ns, source.inode, source.executable)
    return Source(path, source.name, source.kind, *facts)


def _together(results: Sequence[PushResult], seconds: float) -> PushResult:
    return PushResult(
        target=", ".join(dict.fromkeys(one.target for one in results if one.target)),
        files=sum(one.files for one in results),
        bytes=sum(one.bytes for one in results),
        seconds=seconds,
        sent=sum(one.sent for one in results),
        same=sum(one.same for one in results),
        replaced=tuple(path for one in results for path in one.replaced),
        skipped=tuple(path for one in results for path in one.skipped),
    )


def _offer(count: int, names: Sequence[str]) -> Problem:
    files = "1 pulled file is" if count == 1 else f"{count} pulled files are"
    return Problem(
        "",
        f"This is a new VM, and {files} here ({', '.join(names)}).",
        "`colab-devsync push --checkpoints` puts them back; training can go on then.",
        "info",
    )
