"""The projects one client looks at: which there are, and what their events become.

Lives on the loop. Connects a workspace folder's project by itself when the client is an
editor and did not forbid it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.config import CONFIG_NAME
from ..core.events import (
    ConflictsChanged,
    Event,
    FailuresChanged,
    FilePulled,
    Mirrored,
    ModulesChanged,
    ProblemsChanged,
    PullsChanged,
    PullsInDanger,
    Question,
    RunChanged,
    Status,
    StatusChanged,
)
from ..daemon.hub import Project
from ..daemon.projects import find_root, require_root
from ..errors import ConfigError, DevsyncError
from . import operations, protocol, pulls, questions
from .local_paths import fs_path, named

if TYPE_CHECKING:
    from .jobs import Job
    from .server import DevsyncServer

_log = logging.getLogger(__name__)


class Folders:
    """A hub listener: one per client, for all its projects."""

    def __init__(self, ls: DevsyncServer) -> None:
        self._ls = ls
        self._open: dict[Path, Project] = {}
        self._connected: set[Path] = set()

    # --- which project ------------------------------------------------------------

    def project(self, folder: str | None) -> Project:
        """The project `folder` (path or URI) is in, or the only one there is."""
        return self.open(self.root_of(folder))

    def root_of(self, folder: str | None) -> Path:
        if folder is not None:
            return require_root(named(folder))
        known = {*self._open, *self._configured_roots()}
        if len(known) == 1:
            return known.pop()
        if not known:
            raise ConfigError(
                f"No folder of this workspace holds a {CONFIG_NAME}.",
                "Run `colab-devsync init` in your project folder.",
            )
        names = ", ".join(sorted(map(str, known)))
        raise ConfigError(
            f"There are {len(known)} projects here: {names}.",
            'Name one with the argument "folder".',
        )

    def open(self, root: Path) -> Project:
        project = self._ls.hub.open(root, self._ls.options.profile, self)
        if root not in self._open:
            self._ls.diagnostics.show_failures(root, project.session.failures.shown)
        self._open[root] = project
        return project

    def removed(self, folder: Path) -> None:
        """The client does not look at this folder any more; what runs there goes on."""
        self._connected.discard(folder)
        self._ls.diagnostics.forget(folder)
        for root in [root for root in self._open if root.is_relative_to(folder)]:
            if any(root.is_relative_to(one) for one in self._roots()):
                continue  # it is in another folder of the workspace, too
            self._connected.discard(root)
            self._ls.diagnostics.forget(root)
            project = self._open.pop(root)
            if project not in self._open.values():  # under another name
                self._ls.hub.leave(self, project)

    def known(self, path: Path) -> Project | None:
        """The project that `path` is in, if this client has used it."""
        inside = [root for root in self._open if path.is_relative_to(root)]
        return self._open[max(inside, key=lambda r: len(r.parts))] if inside else None

    def root_around(self, path: Path) -> Path | None:
        """The project's folder that `path` is in, used by this client or not."""
        found = self.relative(path)
        return found[0] if found is not None else find_root(path.parent)

    def relative(self, path: Path) -> tuple[Path, str] | None:
        """The open project's folder that `path` is in, and the rest with "/"."""
        inside = [root for root in self._open if path.is_relative_to(root)]
        if not inside:
            return None
        root = max(inside, key=lambda r: len(r.parts))  # the innermost of nested ones
        return root, path.relative_to(root).as_posix()

    def saved(self, path: Path) -> None:
        """An editor wrote `path`; outside of all projects that means nothing."""
        found = self.relative(path)
        if found is not None:
            project = self._open[found[0]]
            project.session.saved(project.root / found[1])

    def config_saved(self, root: Path) -> None:
        project = self._open.get(root)
        if project is not None:
            project.session.config_changed()
        if (root / CONFIG_NAME).is_file():
            self.connect_by_itself(root)

    def new_folder(self, folder: str | None) -> Path:
        """Where `init` writes: `folder`, or the only folder of the workspace."""
        if folder is not None:
            return named(folder)
        roots = self._roots()
        if len(roots) != 1:
            raise ConfigError(
                f"This workspace has {len(roots)} folders.",
                'Name one with the argument "folder".',
            )
        return roots[0]

    # --- connecting by itself -----------------------------------------------------

    def refresh(self) -> None:
        """Looks at the workspace folders again: checks and connects what is new."""
        if self._ls.options.is_cli:
            return
        for root in self._configured_roots():
            self._ls.diagnostics.file_changed(root / CONFIG_NAME)
            self.connect_by_itself(root)

    def connect_by_itself(self, root: Path) -> None:
        """Once per project, as soon as its configuration is without mistakes."""
        allowed = self._ls.options.auto_connect and not self._ls.options.is_cli
        if not allowed or root in self._connected or root not in self._roots():
            return
        if self._ls.diagnostics.has_mistakes(root / CONFIG_NAME):
            return
        self._connected.add(root)
        # The answer to `initialize` and what follows it goes out before the engine,
        # with all it imports, is loaded.
        self._ls.loop.call_later(0.05, self._start_connecting, root)

    def _start_connecting(self, root: Path) -> None:
        if self._ls.closed or root not in self._roots():
            return

        async def operation(job: Job) -> dict[str, Any]:
            try:
                project = self.open(root)
                status = await operations.connect_and_mirror(project, job)
                return self.status(project, status)
            except DevsyncError:
                self._connected.discard(root)  # a corrected file is a new chance
                raise

        title = f"Connecting {root.name}"
        self._ls.jobs.start("devsync.connect", title, operation)

    def _configured_roots(self) -> list[Path]:
        return [root for root in self._roots() if (root / CONFIG_NAME).is_file()]

    def _roots(self) -> list[Path]:
        workspace = self._ls.workspace
        given = list(workspace.folders) or [workspace.root_uri or ""]
        paths = (fs_path(uri) for uri in given if uri)
        return [Path(path) for path in paths if path]

    # --- hub listener -------------------------------------------------------------

    def on_event(self, project: Project, event: Event) -> None:
        root = self.name(project)
        match event:
            case StatusChanged(status):
                self._ls.tell(protocol.STATUS, self.status(project, status))
                self._ls.modules.link_is(Path(root), status.link)
            case Mirrored(path, size, ms):
                body = protocol.MirroredBody(folder=root, path=path, bytes=size, ms=ms)
                self._ls.tell(protocol.MIRRORED, body)
            case ConflictsChanged(conflicts):
                self._ls.diagnostics.show_conflicts(Path(root), conflicts)
            case ProblemsChanged(problems):
                self._ls.diagnostics.show_problems(Path(root), problems)
            case RunChanged(run):
                self._ls.runs.changed(project, run)
            case ModulesChanged():
                self._ls.modules.look_again(Path(root))
            case FailuresChanged(failures):
                self._ls.diagnostics.show_failures(Path(root), failures)
            case FilePulled() | PullsChanged() | PullsInDanger():
                pulls.tell(self._ls, root, event)

    def status(self, project: Project, status: Status) -> dict[str, Any]:
        """A status for this client."""
        return {**status.as_json(), "folder": self.name(project)}

    def name(self, project: Project) -> str:
        """The root as this client calls it; the hub's has symbolic links resolved."""
        for root, known in self._open.items():
            if known is project:
                return str(root)
        return str(project.root)

    async def ask(self, question: Question) -> str | None:
        return await questions.ask(self._ls, question)
