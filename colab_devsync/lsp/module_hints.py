"""Imports that the VM's Python would not find, as hints in open Python files.

Per client, on the loop. Looked for in the background when a file is opened or saved,
when the link comes up and after an install: all open files of a project in one
question, never two at a time. Without a link nothing is asked and nothing is shown.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lsprotocol import types

from ..core.editing.distributions import distribution_of
from ..core.editing.imports import Import, imports_of
from ..errors import DevsyncError
from .bridge import in_thread, settle
from .local_paths import fs_path
from .positions import TextMap

if TYPE_CHECKING:
    from ..core.events import LinkState
    from ..engine.programs.glance import Need
    from .server import DevsyncServer

_log = logging.getLogger(__name__)

NOT_INSTALLED = "not-installed"
_LONGEST = 2_000_000  # characters; larger files are generated ones
_ENDINGS = (".py", ".so", ".pyd")


@dataclass(frozen=True)
class _Text:
    """One open file. `folder` is relative to the project."""

    uri: str
    folder: str
    source: str
    encoding: str | None


@dataclass(frozen=True)
class _Open:
    """What one open file imports, and from where."""

    uri: str
    folder: str  # relative to the project
    imports: tuple[Import, ...]
    text: TextMap


class ModuleHints:
    def __init__(self, ls: DevsyncServer) -> None:
        self._ls = ls
        self._busy: set[Path] = set()
        self._again: set[Path] = set()
        self._links: dict[Path, LinkState] = {}

    def look(self, path: Path) -> None:
        """A Python file was opened or saved."""
        found = self._ls.folders.relative(path)
        if found is not None:
            self.look_again(found[0])

    def link_is(self, root: Path, link: LinkState) -> None:
        before = self._links.get(root)
        self._links[root] = link
        if link == "online" != before:
            self.look_again(root)
        elif link == "offline" != before:
            self._ls.diagnostics.show_missing(root, {})

    def look_again(self, root: Path) -> None:
        project = self._ls.folders.known(root)
        if project is None or project.session.status().link != "online":
            return
        if next(self._texts(root), None) is None:
            return
        if root in self._busy:
            self._again.add(root)
            return
        self._busy.add(root)
        self._ls.spawn(self._look(root))

    def closed(self, path: Path, uri: str) -> None:
        found = self._ls.folders.relative(path)
        if found is not None:
            self._ls.diagnostics.drop_missing(found[0], uri)

    async def _look(self, root: Path) -> None:
        try:
            await self._ask(root)
        except DevsyncError as exc:
            _log.info("modules of %s could not be looked for: %s", root, exc)
        finally:
            self._busy.discard(root)
        if root in self._again:
            self._again.discard(root)
            self.look_again(root)

    async def _ask(self, root: Path) -> None:
        project = self._ls.folders.known(root)
        if project is None:
            return
        texts = tuple(self._texts(root))
        # Reading a long file takes a while; the loop has other things to do.
        files, needs = await in_thread(lambda: _read(root, texts), "imports")
        gone: frozenset[Need] = frozenset()
        if needs:
            gone = await settle(project.session.glance.missing(needs, again=True))
        if project.session.status().link == "offline":
            return  # meanwhile; what was shown has been taken away
        there = self._ls.workspace.text_documents  # others were closed meanwhile
        hints = {one.uri: list(_hints(one, gone)) for one in files if one.uri in there}
        self._ls.diagnostics.show_missing(root, hints)

    def _texts(self, root: Path) -> Iterator[_Text]:
        """The project's Python files that the client has open."""
        workspace = self._ls.workspace
        for uri, document in workspace.text_documents.items():
            path = Path(fs_path(uri) or "")
            found = self._ls.folders.relative(path) if path.suffix == ".py" else None
            if found is None or found[0] != root:
                continue
            source = document.source
            if len(source) <= _LONGEST:
                folder = found[1].rpartition("/")[0]
                yield _Text(uri, folder, source, workspace.position_encoding)


def _read(
    root: Path, texts: Iterable[_Text]
) -> tuple[tuple[_Open, ...], frozenset[Need]]:
    """What the files import, and what of it the VM has to be asked about."""
    files = tuple(
        _Open(
            uri=one.uri,
            folder=one.folder,
            imports=imports_of(one.source),
            text=TextMap(one.source, one.encoding),
        )
        for one in texts
    )
    needs = {
        (one.folder, found.module)
        for one in files
        for found in one.imports
        if not _is_here(root, one.folder, found.module)
    }
    return files, frozenset(needs)


def _hints(file: _Open, gone: frozenset[Need]) -> Iterator[types.Diagnostic]:
    for found in file.imports:
        if (file.folder, found.module) in gone:
            yield types.Diagnostic(
                range=types.Range(
                    file.text.at(found.line, found.column),
                    file.text.at(found.line, found.end),
                ),
                message=f"{found.module} is not installed on the VM.",
                severity=types.DiagnosticSeverity.Hint,
                code=NOT_INSTALLED,
                source="colab-devsync",
                data={"module": found.module},
            )


def packages_for(diagnostics: Iterable[types.Diagnostic]) -> tuple[str, ...]:
    """What has to be installed against these hints, each once."""
    modules = (
        one.message.partition(" ")[0]
        for one in diagnostics
        if one.code == NOT_INSTALLED
    )
    return tuple(dict.fromkeys(filter(None, map(distribution_of, modules))))


def _is_here(root: Path, folder: str, module: str) -> bool:
    """Whether it is a module of the project, which the mirror brings to the VM."""
    for place in {root, root / folder}:
        if any((place / f"{module}{ending}").is_file() for ending in _ENDINGS):
            return True
        package = place / module
        if (package / "__init__.py").is_file():
            return True
        if package.is_dir() and any(package.glob("*.py")):
            return True
    return False
