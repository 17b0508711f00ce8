"""What one client sees in its problems view. On the loop.

Four sources (the configuration's text, conflicts, problems of the mirror, failures of
runs) meet in one list per file, because publishing replaces all that a file had before.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lsprotocol import types
from pygls import uris

from ..core.config import CONFIG_NAME, ConfigProblem, check_config
from ..core.events import Conflict, Problem
from ..core.failures import Failure, Related
from .config_files import missing_files
from .local_paths import fs_path
from .positions import TextMap

if TYPE_CHECKING:
    from .server import DevsyncServer

SOURCE = "colab-devsync"
CONFLICT = "conflict"
"""The diagnostic code that code actions look for."""
TRACEBACK = "traceback"

_PAUSE_S = 0.15

_SEVERITY = {
    "error": types.DiagnosticSeverity.Error,
    "warning": types.DiagnosticSeverity.Warning,
    "info": types.DiagnosticSeverity.Information,
}
_TOP = types.Range(types.Position(0, 0), types.Position(0, 200))

ByUri = Mapping[str, list[types.Diagnostic]]


class Diagnostics:
    """Per client; remembers what it published, by one spelling of each URI."""

    def __init__(self, ls: DevsyncServer) -> None:
        self._ls = ls
        self._spelled: dict[str, str] = {}  # as the client writes it, where it differs
        self._sources: dict[str, ByUri] = {}
        self._published: dict[str, list[types.Diagnostic]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def opened(self, uri: str) -> None:
        """From now on the client is told of this file under its own name for it."""
        ours = canonical(uri)
        known = self._published.get(ours)
        if uri == self._spelled.get(ours, ours):
            return
        if known is not None:
            self._publish(ours, [])
        self._spelled[ours] = uri
        if known is not None:
            self._publish(ours, known)

    def check_text(self, uri: str, text: str) -> None:
        uri = canonical(uri)
        self._forget_timer(uri)
        places = TextMap(text, self._ls.workspace.position_encoding)
        found = [_config_diagnostic(p, places) for p in check_config(text)]
        self._set(f"config {uri}", {uri: found})
        self._set(f"files {uri}", {uri: missing_files(places, uri)})

    def look_for_files(self) -> None:
        """A file was written or opened: it may be one that a configuration missed."""
        for source, found in tuple(self._sources.items()):
            for uri in [uri for uri, missed in found.items() if missed]:
                if source == f"files {uri}":
                    self._set(source, {uri: self._missing_files(uri)})

    def _missing_files(self, uri: str) -> list[types.Diagnostic]:
        workspace = self._ls.workspace
        try:
            text = workspace.get_text_document(self._spelled.get(uri, uri)).source
        except (OSError, UnicodeDecodeError):
            return []
        return missing_files(TextMap(text, workspace.position_encoding), uri)

    def check_soon(self, uri: str) -> None:
        """While somebody types: once, when there is a pause."""
        self._forget_timer(canonical(uri))
        call = self._ls.loop.call_later(_PAUSE_S, self._check_buffer, uri)
        self._timers[canonical(uri)] = call

    def _check_buffer(self, uri: str) -> None:
        if not self._ls.closed:
            self.check_text(uri, self._ls.workspace.get_text_document(uri).source)

    def _forget_timer(self, uri: str) -> None:
        timer = self._timers.pop(uri, None)
        if timer is not None:
            timer.cancel()

    def check_file(self, path: Path) -> None:
        """From disk; a file that has gone has no mistakes."""
        uri = uris.from_fs_path(str(path)) or ""
        self._forget_timer(uri)
        try:
            self.check_text(uri, path.read_text(encoding="utf-8-sig"))
        except FileNotFoundError:
            self._set(f"config {uri}", {})
            self._set(f"files {uri}", {})
        except (OSError, UnicodeDecodeError) as exc:
            self._set(f"config {uri}", {uri: [_unreadable(exc)]})

    def file_changed(self, path: Path) -> None:
        """As `check_file`, unless the client has it open: then what it typed counts."""
        uri = uris.from_fs_path(str(path)) or ""
        if self._spelled.get(uri, uri) not in self._ls.workspace.text_documents:
            self.check_file(path)

    @staticmethod
    def has_mistakes(path: Path) -> bool:
        """On disk, whatever a client has made of it."""
        try:
            return bool(check_config(path.read_text(encoding="utf-8-sig")))
        except (OSError, UnicodeDecodeError):
            return True

    def show_conflicts(self, root: Path, conflicts: Iterable[Conflict]) -> None:
        found: dict[str, list[types.Diagnostic]] = defaultdict(list)
        for conflict in conflicts:
            found[_uri(root, conflict.path)].append(_conflict_diagnostic(conflict))
        self._set(f"conflicts {root}", found)

    def show_problems(self, root: Path, problems: Iterable[Problem]) -> None:
        found: dict[str, list[types.Diagnostic]] = defaultdict(list)
        for problem in problems:
            # One about the whole mirror has no file; the configuration stands for it.
            uri = _uri(root, problem.path or CONFIG_NAME)
            found[uri].append(_problem_diagnostic(problem))
        self._set(f"problems {root}", found)

    def show_failures(self, root: Path, failures: Iterable[Failure]) -> None:
        """Where the newest run failed."""
        found: dict[str, list[types.Diagnostic]] = defaultdict(list)
        for failure in failures:
            uri = _uri(root, failure.path)
            found[uri].append(_failure_diagnostic(root, failure))
        self._set(f"failures {root}", found)

    def show_missing(self, root: Path, hints: ByUri) -> None:
        """Imports that the VM's Python does not find."""
        ours = {canonical(uri): found for uri, found in hints.items()}
        self._set(f"modules {root}", ours)

    def drop_missing(self, root: Path, uri: str) -> None:
        """The file was closed."""
        kept = dict(self._sources.get(f"modules {root}", {}))
        kept.pop(canonical(uri), None)
        self._set(f"modules {root}", kept)

    def forget(self, root: Path) -> None:
        """A project is looked at no more, but for its configuration if that is open."""
        for name in ("conflicts", "problems", "failures", "modules"):
            self._set(f"{name} {root}", {})
        uri = _uri(root, CONFIG_NAME)
        if self._spelled.get(uri, uri) not in self._ls.workspace.text_documents:
            self._set(f"config {uri}", {})
            self._set(f"files {uri}", {})

    def shown(self, uri: str) -> tuple[types.Diagnostic, ...]:
        """What the client sees of `uri` now."""
        return tuple(self._published.get(canonical(uri), ()))

    def _set(self, source: str, found: ByUri) -> None:
        touched = {*self._sources.get(source, {}), *found}
        self._sources[source] = found
        for uri in sorted(touched):
            merged = [d for by in self._sources.values() for d in by.get(uri, [])]
            if merged != self._published.get(uri, []):
                self._publish(uri, merged)

    def _publish(self, uri: str, merged: list[types.Diagnostic]) -> None:
        if merged:
            self._published[uri] = merged
        else:
            self._published.pop(uri, None)
        shown = self._spelled.get(uri, uri)
        params = types.PublishDiagnosticsParams(uri=shown, diagnostics=merged)
        if not self._ls.options.is_cli:
            self._ls.tell(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS, params)


def canonical(uri: str) -> str:
    """One spelling for all: clients escape more or less of a path, and there are two
    ways to write the drives of Windows."""
    path = fs_path(uri)
    return (uris.from_fs_path(path) if path else None) or uri


def _uri(root: Path, path: str) -> str:
    return uris.from_fs_path(str(root / path)) or ""


def _config_diagnostic(problem: ConfigProblem, places: TextMap) -> types.Diagnostic:
    parts = [problem.message]
    if problem.expected:
        parts.append(f"expected {problem.expected}")
    if problem.nearest is not None:
        parts.append(f'did you mean "{problem.nearest}"?')
    return types.Diagnostic(
        range=types.Range(
            places.at(problem.line, problem.column),
            places.at(problem.end_line, problem.end_column),
        ),
        message="; ".join(parts),
        severity=types.DiagnosticSeverity.Error,
        code=problem.key or None,
        source=SOURCE,
        data={"nearest": problem.nearest} if problem.nearest is not None else None,
    )


def _conflict_diagnostic(conflict: Conflict) -> types.Diagnostic:
    if conflict.remote_hash is None:
        what = "was deleted on the VM and changed here"
    elif conflict.local_hash is None:
        what = "was deleted here and changed on the VM"
    else:
        what = "was changed on the VM since it was mirrored"
    copy = f" The VM's version: {conflict.remote_copy}." if conflict.remote_copy else ""
    return types.Diagnostic(
        range=_TOP,
        message=f"{conflict.path} {what}; it is not mirrored until you choose.{copy}"
        f" Keep yours or take theirs: `colab-devsync resolve {conflict.path} --keep"
        " local|remote`.",
        severity=types.DiagnosticSeverity.Error,
        code=CONFLICT,
        source=SOURCE,
        data={"path": conflict.path},
    )


def _problem_diagnostic(problem: Problem) -> types.Diagnostic:
    return types.Diagnostic(
        range=_TOP,
        message=" ".join(filter(None, (problem.message, problem.hint))),
        severity=_SEVERITY[problem.severity],
        source=SOURCE,
    )


def _failure_diagnostic(root: Path, failure: Failure) -> types.Diagnostic:
    return types.Diagnostic(
        range=_whole_line(failure.line),
        message=failure.message,
        severity=types.DiagnosticSeverity.Error,
        code=TRACEBACK,
        source=SOURCE,
        related_information=[_related(root, one) for one in failure.related] or None,
    )


def _related(root: Path, related: Related) -> types.DiagnosticRelatedInformation:
    place = types.Location(_uri(root, related.path), _whole_line(related.line))
    return types.DiagnosticRelatedInformation(place, related.message)


def _whole_line(line: int) -> types.Range:
    """`line` counts from 1. Clients cut at the line's end."""
    return types.Range(types.Position(line - 1, 0), types.Position(line - 1, 1000))


def _unreadable(error: Exception) -> types.Diagnostic:
    return types.Diagnostic(
        range=_TOP,
        message=f"Cannot read {CONFIG_NAME}: {error}.",
        severity=types.DiagnosticSeverity.Error,
        source=SOURCE,
    )
