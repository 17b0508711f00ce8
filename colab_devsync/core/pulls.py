"""Pull rules: which files they mean, which of them are wanted, how a pull stands.

Pure functions and frozen values; any thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from .gitignore import parse

_DEVICE = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9¹²³]|conin\$|conout\$", re.I)

PullState = Literal["offline", "watching", "waiting", "fetching", "failed"]


class Version(NamedTuple):
    """One version of a file on the VM, as its file system tells it apart."""

    dev: int
    ino: int
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Remote:
    """A finished file on the VM. `grows`: it is open, and only appended to."""

    version: Version
    grows: bool = False


@dataclass(frozen=True)
class PullInfo:
    """How one rule stands. Sizes in bytes."""

    name: str
    remote: str
    local: str
    state: PullState = "offline"
    here: int = 0  # files that were pulled and are here
    waiting: int = 0  # finished files that only the VM has and that are wanted
    waiting_bytes: int = 0  # of them, what is still to come
    only_there: int = 0  # files that only the VM has, wanted or not
    writing: int = 0  # files on the VM that are still written
    newest: str | None = None  # the newest file here
    newest_at: float | None = None  # when it was finished, as unix time of this machine
    message: str | None = None

    def as_json(self) -> dict[str, Any]:
        """As `status --json` and `colabDevsync/pulls` have it."""
        body = asdict(self)
        body["waitingBytes"] = body.pop("waiting_bytes")
        body["onlyThere"] = body.pop("only_there")
        body["newestAt"] = body.pop("newest_at")
        return {key: value for key, value in body.items() if value is not None}


@dataclass(frozen=True)
class PullResult:
    """What came since the last `pull`, by that one or by itself before. `bytes`: the
    sizes of these files."""

    files: int
    bytes: int


def selection(patterns: Sequence[str]) -> list[list[object]]:
    """Patterns as the agent takes them: [negated, folders only, whole path, regex]."""
    parsed = [one for one in map(parse, patterns) if one is not None]
    return [[one.negated, one.dir_only, one.anchored, one.regex] for one in parsed]


def not_mirrored(local: str, include: Sequence[str]) -> list[str]:
    """gitignore patterns, from the project's root, of what a rule brings home."""
    if local == ".":
        return list(include)
    folder = re.sub(r"([\\*?\[])", r"\\\1", local)
    return [f"/{folder}/", f"/{folder}/**"]


def newest_first(files: Mapping[str, Version]) -> list[str]:
    """Paths by age; of equal age by name, so that the order is stable."""
    ordered = sorted(files)
    ordered.sort(key=lambda path: files[path].mtime_ns, reverse=True)
    return ordered


def newest_of(files: Mapping[str, Version]) -> str | None:
    """The first of `newest_first`."""
    if not files:
        return None
    latest = max(one.mtime_ns for one in files.values())
    return min(path for path, one in files.items() if one.mtime_ns == latest)


def wanted(
    there: Mapping[str, Version],
    settled: Mapping[str, Version],
    here: Mapping[str, Version],
    keep: int,
) -> list[str]:
    """Paths of `there` to fetch, the newest first.

    `settled`: versions that came already, be they still here or not. `here`: what is
    here. With `keep`, what would not be among the newest that many is not fetched.
    """
    missing = {p: one for p, one in there.items() if settled.get(p) != one}
    if not keep or not missing:
        return newest_first(missing)
    chosen = newest_first({**here, **there})[:keep]
    return [path for path in chosen if path in missing]


def surplus(here: Mapping[str, Version], keep: int) -> list[str]:
    """Paths of what is here beyond the `keep` newest; 0 keeps all."""
    return newest_first(here)[keep:] if keep else []


def is_plain(path: str, *, windows: bool) -> bool:
    """Whether a path from the VM stays in its folder here."""
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\0" in path:
        return False
    return not windows or not any(map(_means_else_on_windows, parts))


def _means_else_on_windows(name: str) -> bool:
    """`nul.pt` is a device there, and `a.` is `a`."""
    if name[-1] in ". " or any(char < " " or char in '\\:*?"<>|' for char in name):
        return True
    return _DEVICE.fullmatch(name.split(".")[0].rstrip()) is not None


def copy_name(path: str) -> str:
    """Where the VM's version goes when somebody else's file has its name."""
    return _marked(path, "from-vm")


def earlier_name(path: str, number: int) -> str:
    """Where the file of an earlier VM goes, the `number`-th, when one of this VM has
    its name."""
    return _marked(path, "earlier-vm" if number == 1 else f"earlier-vm-{number}")


def _marked(path: str, word: str) -> str:
    folder, slash, name = path.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    if not stem:
        return f"{path}.{word}"
    return f"{folder}{slash}{stem}.{word}{dot}{suffix}"


def add_range(
    ranges: Iterable[tuple[int, int]], start: int, end: int
) -> list[tuple[int, int]]:
    """Disjoint ascending ranges [start, end) with one more, neighbours joined."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted([*ranges, (start, end)]):
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return joined


def gaps(ranges: Sequence[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """What the ranges leave of [0, size)."""
    edges = [0, *(edge for one in ranges for edge in one), size]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return [(low, high) for low, high in pairs if low < high]
