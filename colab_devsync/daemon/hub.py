"""The sessions of one daemon, shared by its clients.

Lives on the asyncio loop: every method runs there, except `Project.emit` and
`Project.ask`, which engine and link threads call. Knows sessions, events and questions;
knows no LSP. A project nobody looks at is closed after the linger time, unless runs or
forwards are in use, and when there is neither client nor project the daemon ends.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..core.events import Event, Question, SshReady, StatusChanged
from .ssh_config import refresh_soon

if TYPE_CHECKING:
    from ..engine.session import Session

_log = logging.getLogger(__name__)

QUESTION_TIMEOUT_S = 100.0
"""A little less than sshd's usual LoginGraceTime, which runs while we ask."""

_CLOSE_TIMEOUT_S = 1.0


class Listener(Protocol):
    """A client that looks at a project."""

    def on_event(self, project: Project, event: Event) -> None:
        """On the loop; must not block."""

    async def ask(self, question: Question) -> str | None:
        """None = no answer. The hub bounds the time."""


class Project:
    """One session and the clients that look at it."""

    def __init__(self, root: Path, profile: str | None, hub: Hub) -> None:
        from ..engine.session import Session  # paramiko and more: 0.3 s, once

        self.root = root
        self.profile = profile
        self._hub = hub
        self._listeners: list[Listener] = []
        self._mutex = threading.Lock()
        self._events: deque[Event] = deque()
        self._questions: set[concurrent.futures.Future[str | None]] = set()
        self._closing = False
        self.linger: asyncio.TimerHandle | None = None
        self.session: Session = Session(
            root, profile=profile, emit=self.emit, ask=self.ask
        )

    # --- loop ---------------------------------------------------------------------

    @property
    def is_used(self) -> bool:
        return bool(self._listeners)

    def is_shared(self, listener: Listener) -> bool:
        """Whether somebody else looks at it, too."""
        return any(one is not listener for one in self._listeners)

    def attach(self, listener: Listener) -> None:
        """Also marks `listener` as the one that gets the next question."""
        if listener in self._listeners:
            self._listeners.remove(listener)
        self._listeners.append(listener)

    def detach(self, listener: Listener) -> None:
        if listener in self._listeners:
            self._listeners.remove(listener)

    def close(self) -> None:
        """Blocks up to a second; on any thread but the loop's."""
        self.session.close()

    def refuse_questions(self) -> None:
        """Answers open and later questions with the safe choice."""
        with self._mutex:
            self._closing = True
            pending = tuple(self._questions)
        for question in pending:
            question.cancel()

    def _flush(self) -> None:
        with self._mutex:
            events = tuple(self._events)
            self._events.clear()
        for event in events:
            for listener in tuple(self._listeners):
                listener.on_event(self, event)

    async def _ask(self, question: Question) -> str | None:
        if not self._listeners:
            return None
        return await self._listeners[-1].ask(question)

    # --- engine and link threads --------------------------------------------------

    def emit(self, event: Event) -> None:
        if isinstance(event, SshReady):
            refresh_soon(event.access)  # also when nobody looks
            return
        with self._mutex:
            idle = not self._events
            newest = None if idle else self._events[-1]
            if isinstance(event, StatusChanged) and isinstance(newest, StatusChanged):
                # Only the newest status matters; a burst of saves makes one message.
                self._events.pop()
            self._events.append(event)
        if idle:
            self._hub.post(self._flush)

    def ask(self, question: Question) -> str:
        with self._mutex:
            if self._closing:
                return question.safe
            asked = asyncio.run_coroutine_threadsafe(
                self._ask(question), self._hub.loop
            )
            self._questions.add(asked)
        try:
            answer = asked.result(self._hub.question_timeout_s)
        except (TimeoutError, concurrent.futures.TimeoutError):
            asked.cancel()
            answer = None
        except (asyncio.CancelledError, concurrent.futures.CancelledError):
            answer = None
        finally:
            with self._mutex:
                self._questions.discard(asked)
        _log.info("question %s answered with %r", question.kind, answer)
        return answer if answer in question.choices else question.safe


class Hub:
    """All projects of one daemon."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        linger_s: float,
        question_timeout_s: float = QUESTION_TIMEOUT_S,
    ) -> None:
        self.loop = loop
        self.question_timeout_s = question_timeout_s
        self.idle = asyncio.Event()
        """Set when the daemon has no reason to live any longer."""
        self._linger_s = linger_s
        self._clients = 0
        self._linger: asyncio.TimerHandle | None = None
        self._projects: dict[tuple[Path, str | None], Project] = {}
        self._closed = False

    def client_joined(self) -> None:
        self._clients += 1
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    def client_left(self) -> None:
        self._clients -= 1
        if not self._clients and not self._closed:
            self._linger = self.loop.call_later(self._linger_s, self._rest)

    @property
    def clients(self) -> int:
        return self._clients

    @property
    def projects(self) -> tuple[Project, ...]:
        return tuple(self._projects.values())

    def open(self, root: Path, profile: str | None, listener: Listener) -> Project:
        """The project at `root`, shared with whoever else looks at it."""
        key = (Path(os.path.realpath(root)), profile)
        project = self._projects.get(key)
        if project is None:
            project = self._projects[key] = Project(key[0], profile, self)
        if project.linger is not None:
            project.linger.cancel()
            project.linger = None
        project.attach(listener)
        return project

    def leave(self, listener: Listener, only: Project | None = None) -> None:
        """`listener` looks at nothing any more, or no more at that one."""
        for project in self.projects if only is None else (only,):
            project.detach(listener)
            if not project.is_used and project.linger is None:
                project.linger = self.loop.call_later(
                    self._linger_s, self._retire, project
                )

    def post(self, callback: Callable[[], None]) -> None:
        """From any thread. Dropped when the loop has ended: nobody listens then."""
        try:
            self.loop.call_soon_threadsafe(callback)
        except RuntimeError:
            _log.debug("event after the end of the loop")

    async def close(self) -> None:
        """Closes all sessions at once, within about a second."""
        self._closed = True
        projects = self.projects
        self._projects.clear()
        closing = [_close_in_thread(project) for project in projects]
        if closing:
            ended = [asyncio.wrap_future(done) for done in closing]
            await asyncio.wait(ended, timeout=_CLOSE_TIMEOUT_S)

    def _rest(self) -> None:
        """Nobody is left; but a run or a forward may still need us."""
        if any(project.session.is_in_use for project in self.projects):
            self._linger = self.loop.call_later(self._linger_s, self._rest)
        else:
            self.idle.set()

    def _retire(self, project: Project) -> None:
        if project.session.is_in_use:
            project.linger = self.loop.call_later(self._linger_s, self._retire, project)
            return
        self._projects.pop((project.root, project.profile), None)
        _close_in_thread(project)


def _close_in_thread(project: Project) -> concurrent.futures.Future[None]:
    project.refuse_questions()
    done: concurrent.futures.Future[None] = concurrent.futures.Future()

    def run() -> None:
        try:
            project.close()
        finally:
            done.set_result(None)

    threading.Thread(target=run, name="devsync-close", daemon=True).start()
    return done
