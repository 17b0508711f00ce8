"""Where in the project a run failed: tracebacks of the VM, placed on local files.

Pure: maps paths, chooses the frame in front, and words it. Any thread.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from .tracebacks import MAX_TRACEBACKS, Frame, Traceback

_LIBRARIES = {"site-packages", "dist-packages", ".colab-devsync"}
_STOPPED = {"KeyboardInterrupt"}  # how a run ends when somebody stops it
_MAX_RELATED = 20


@dataclass(frozen=True)
class Related:
    """Another place that has to do with it. `path` as in Failure."""

    path: str
    line: int
    message: str


@dataclass(frozen=True)
class Failure:
    """An exception at a line of the project: the innermost frame that is in it."""

    path: str  # "/"-separated, relative to the project
    line: int  # from 1
    message: str
    related: tuple[Related, ...] = ()


@dataclass(frozen=True)
class PathMapping:
    """The VM's project folder, under each of its names, and our copy of it."""

    roots: tuple[str, ...]
    cwd: str  # of the run, absolute on the VM: frames may have relative paths
    is_here: Callable[[str], bool]  # whether the project has this file

    def local(self, path: str) -> str | None:
        """`path` relative to the project, if that is a file of ours."""
        if path.startswith("<"):
            return None
        absolute = posixpath.normpath(posixpath.join(self.cwd, path))
        for root in self.roots:
            inside = absolute.removeprefix(root.rstrip("/") + "/")
            if inside != absolute and not _LIBRARIES & set(inside.split("/")):
                return inside if self.is_here(inside) else None
        return None


def failures_of(
    tracebacks: Iterable[Traceback], mapping: PathMapping
) -> tuple[Failure, ...]:
    """What to show, each once; exceptions that never touched the project are left
    out."""
    found = [
        failure
        for traceback in tracebacks
        for one in _each(traceback)
        if (failure := _failure(one, mapping)) is not None
    ]
    return tuple(dict.fromkeys(found))[-MAX_TRACEBACKS * 5 :]


def _each(traceback: Traceback) -> Iterator[Traceback]:
    """It, and the parts of a group."""
    yield traceback
    for part in traceback.parts:
        yield from _each(part)


def _failure(traceback: Traceback, mapping: PathMapping) -> Failure | None:
    if traceback.type in _STOPPED:
        return None
    inside = _inside(traceback, mapping)
    lines = [traceback.text]
    chain = traceback.earlier[::-1]
    if not inside:  # a library raised it while it handled what happened in the project
        told = next((one for one in chain if _inside(one, mapping)), None)
        if told is None:
            return None
        inside = _inside(told, mapping)
        lines.append(f"after: {told.text}")
        chain = tuple(one for one in chain if one is not told)
    elif (last := traceback.frames[-1]) != inside[-1][1]:
        lines.append(f"raised at {last.path}:{last.line}{_in(last)}")
    (path, front), related = inside[-1], _callers(inside)
    for one in chain:
        places = _inside(one, mapping)
        if places:
            place, frame = places[-1]
            related.append(Related(place, frame.line, f"before: {one.text}"))
        else:
            lines.append(f"after: {one.text}")
    shown = tuple(dict.fromkeys(related))[:_MAX_RELATED]
    return Failure(path, front.line, "\n".join(lines), shown)


def _inside(traceback: Traceback, mapping: PathMapping) -> list[tuple[str, Frame]]:
    """The frames in the project, with their paths there."""
    return [
        (path, frame)
        for frame in traceback.frames
        if (path := mapping.local(frame.path)) is not None
    ]


def _callers(inside: list[tuple[str, Frame]]) -> list[Related]:
    """All but the innermost, that one's caller first."""
    return [
        Related(path, frame.line, f"called from here{_in(frame)}")
        for path, frame in inside[-2::-1]
    ]


def _in(frame: Frame) -> str:
    return f", in {frame.name}" if frame.name else ""
