"""What follows from the files that a VM has and those that are here.

Asked for much oftener than it changes, and there may be very many files: so it is kept,
and goes along with what arrives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...core.pulls import Remote, newest_of, wanted
from .record import Pulled


@dataclass
class Standing:
    """One rule's. `keep` and `is_again` are what it was made with."""

    keep: int
    is_again: bool  # what was dropped here is wanted, too
    fetch: dict[str, int]  # what is wanted: sizes by path, the newest first
    here: int
    newest: str | None  # of those that are here
    only_there: int

    @classmethod
    def of(
        cls,
        there: Mapping[str, Remote],
        pulled: Mapping[str, Pulled],
        keep: int,
        is_again: bool,
    ) -> Standing:
        versions = {path: one.version for path, one in there.items()}
        here = {p: one.version for p, one in pulled.items() if one.local is not None}
        ever = {p: one.version for p, one in pulled.items()}
        fetch = wanted(versions, here if is_again else ever, here, keep)
        return cls(
            keep=keep,
            is_again=is_again,
            fetch={path: versions[path].size for path in fetch},
            here=len(here),
            newest=newest_of(here),
            only_there=sum(path not in here for path in versions),
        )

    def goes_along(
        self, there: Mapping[str, Remote], pulled: Mapping[str, Pulled], one: Pulled
    ) -> bool:
        """Whether it still holds when `one` comes to `pulled`; else it must be made
        anew. Files that are new here, and as the VM has them, are the many."""
        before, remote = pulled.get(one.path), there.get(one.path)
        is_new = before is None or before.local is None
        is_current = remote is not None and remote.version == one.version
        if self.keep or not is_new or not is_current or one.local is None:
            return False
        self.fetch.pop(one.path, None)
        self.here += 1
        self.only_there -= 1
        rivals = {one.path: one.version}
        if self.newest is not None:
            rivals[self.newest] = pulled[self.newest].version
        self.newest = newest_of(rivals)
        return True
