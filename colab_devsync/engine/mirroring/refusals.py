"""What the VM refused, until it takes it: its disk is full, a folder is read-only.

On the engine thread. Nobody tells when that is over, so now and then one file stands
for all that were refused alike in its folder; when it goes through, the others follow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ...core.events import Problem

if TYPE_CHECKING:
    from .mirror import Mirror

_FIRST_S, _MOST_S = 5.0, 60.0  # before the first try; between two at most
_TRIES = 8  # at a time
_COST = 1e6  # bytes/s that trying may take of the link, on average
_HINT = (
    "Tried again by itself now and then, and at the next save, `colab-devsync sync` or "
    "reconnect."
)


class Refused(NamedTuple):
    problem: Problem
    reason: str
    size: int  # bytes that a try costs
    gone: dict[str, str | None]  # it is to be deleted; see `Deletions.again`


class Refusals:
    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._refused: dict[str, Refused] = {}
        self._tried: dict[str, str] = {}  # path and reason of what stands for others
        self._pause_s = _FIRST_S
        self._is_due = False

    def add(self, path: str, reason: str, size: int) -> None:
        """A file that is not on the VM."""
        text = f"{path}: not on the VM: {reason}."
        problem = Problem(path, text, _HINT, "error")
        self._add(path, Refused(problem, reason, size, {}))

    def add_folder(self, path: str, size: int) -> None:
        """A file that is not on the VM, because a folder stands there."""
        reason = "a folder with files of its own stands there on the VM"
        hint = "Remove or rename that folder on the VM; the file then goes by itself."
        problem = Problem(path, f"{path}: {reason}.", hint, "error")
        self._add(path, Refused(problem, reason, size, {}))

    def add_deletion(self, path: str, reason: str, held: str | None) -> None:
        """A file that is still on the VM; `held`: see `Deletions.add`."""
        text = f"{path}: not deleted on the VM: {reason}."
        problem = Problem(path, text, _HINT, "error")
        self._add(path, Refused(problem, reason, 0, {path: held}))

    def _add(self, path: str, refused: Refused) -> None:
        self._mirror.problems[path] = refused.problem
        self._refused[path] = refused
        self._tried.pop(path, None)
        if not self._is_due:
            self._wait()

    def settled(self, path: str) -> None:
        """The VM has taken it; others may go through, too."""
        refused = self._refused.pop(path, None)
        if refused is not None and self._mirror.problems.get(path) is refused.problem:
            del self._mirror.problems[path]
        reason = self._tried.pop(path, None)
        if reason is not None:
            held = self._held()
            self._try([other for other, one in held.items() if one.reason == reason])

    def _held(self) -> dict[str, Refused]:
        """Those of which nothing else became meanwhile."""
        problems = self._mirror.problems
        self._refused = {
            path: one
            for path, one in self._refused.items()
            if problems.get(path) is one.problem
        }
        return self._refused

    # --- trying -------------------------------------------------------------------

    def _wait(self) -> None:
        self._is_due = True
        self._mirror.loop.after(self._pause_s, self._look)

    def _look(self) -> None:
        self._is_due = False
        held = self._held()
        if not held or self._mirror.uplink is None:  # all goes on the next link
            self._pause_s, self._tried = _FIRST_S, {}
            return
        chosen = cheapest(held)
        size = sum(held[path].size for path in chosen)
        for path in chosen:
            self._tried[path] = held[path].reason
            held[path] = held.pop(path)  # the next are others
        self._try(chosen)
        self._pause_s = max(min(2 * self._pause_s, _MOST_S), size / _COST)
        self._wait()

    def _try(self, paths: list[str]) -> None:
        """They stay problems until the VM has taken them."""
        gone: dict[str, str | None] = {}
        for path in paths:
            gone.update(self._refused[path].gone)
            if not self._refused[path].gone:
                self._mirror.touched(path)
        self._mirror.deletions.again(gone)


def cheapest(held: dict[str, Refused]) -> list[str]:
    """Of each folder and reason the smallest; of many of these, some."""
    found: dict[tuple[str, str], str] = {}
    for path, one in held.items():
        alike = (path.rpartition("/")[0], one.reason)
        if alike not in found or one.size < held[found[alike]].size:
            found[alike] = path
    return list(found.values())[:_TRIES]
