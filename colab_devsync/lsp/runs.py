"""The runs one client listens to: their output to it, until they or it end.

Lives on the loop. `_Listener.on_output` runs on the run's own thread and waits there
until the client's socket has drained, so a slow reader leaves the output on the VM.
Runs belong to the project: when the client leaves, only the listening ends.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.runs import RunInfo, RunStream
from ..errors import DevsyncError
from . import protocol, showing
from .bridge import post, settle
from .processes import Text

if TYPE_CHECKING:
    from ..daemon.hub import Project
    from ..engine.programs.attachment import Attachment
    from .server import DevsyncServer

_log = logging.getLogger(__name__)

Offsets = Mapping[RunStream, int]


class Runs:
    """Those of one client, by project and id."""

    def __init__(self, ls: DevsyncServer) -> None:
        self._ls = ls
        self._listeners: dict[tuple[Path, str], _Listener] = {}

    def listen(
        self,
        project: Project,
        run_id: str,
        offsets: Offsets | None = None,
        *,
        follow: bool = True,
    ) -> _Listener:
        """Begins, unless this client does so already."""
        key = (project.root, run_id)
        listener = self._listeners.get(key)
        if listener is None:
            listener = _Listener(self._ls, project, run_id, offsets or {})
            self._listeners[key] = listener
            listener.begin(follow=follow, then=lambda: self._listeners.pop(key, None))
        return listener

    def leave(self, project: Project, run_id: str) -> bool:
        """The run goes on. False if this client did not listen to it."""
        listener = self._listeners.pop((project.root, run_id), None)
        if listener is None:
            return False
        listener.close()
        return True

    def changed(self, project: Project, run: RunInfo) -> None:
        """Told to every client; who listens learns of the end after the last output."""
        listens = (project.root, run.id) in self._listeners
        if run.state == "running" or not listens:
            self._ls.tell(protocol.RUN, self.body(project, run, listens or None))

    def body(
        self, project: Project, run: RunInfo, attached: bool | None
    ) -> protocol.RunBody:
        """A run's state for this client."""
        body = protocol.RunBody(
            folder=self._ls.folders.name(project),
            run=run.id,
            kind=run.kind,
            state=run.state,
        )
        if attached is not None:
            body["attached"] = attached
        if run.pid is not None:
            body["pid"] = run.pid
        if run.exit_code is not None:
            body["exitCode"] = run.exit_code
        if run.signal is not None:
            body["signal"] = run.signal
        if run.message is not None:
            body["message"] = run.message
        return body

    def close(self) -> None:
        """The client has left."""
        while self._listeners:
            self._listeners.popitem()[1].close()


class _Listener:
    """One client and one run."""

    def __init__(
        self, ls: DevsyncServer, project: Project, run_id: str, offsets: Offsets
    ) -> None:
        self.run_id = run_id
        self._ls = ls
        self._project = project
        self._folder = ls.folders.name(project)
        self._given = offsets
        self._texts = {name: Text(start) for name, start in offsets.items()}
        self._remote: Attachment | None = None
        self._is_closed = False

    def begin(self, *, follow: bool, then: Any) -> None:
        session = self._project.session
        self._remote = session.runs.attach(
            self.run_id,
            session.failures.tap(self.run_id, self._on_output),
            offsets=self._given,
            follow=follow,
        )

        def ended(future: Future[RunInfo]) -> None:
            post(self._ls.loop, lambda: self._end(future, then))

        self._remote.ended.add_done_callback(ended)

    async def started(self) -> RunInfo:
        """What the VM says of the run now. UnknownRun, LinkError, AgentError."""
        assert self._remote is not None
        return await settle(self._remote.started)

    def close(self) -> None:
        self._is_closed = True
        if self._remote is not None:
            self._remote.close()

    # --- the run's thread ---------------------------------------------------------

    def _on_output(self, stream: RunStream, offset: int, data: bytes) -> None:
        text = self._texts.setdefault(stream, Text(offset))
        body = text.body(self.run_id, stream, data)
        if self._is_closed or self._ls.closed or not body["text"]:
            return
        sent = asyncio.run_coroutine_threadsafe(self._send(body), self._ls.loop)
        try:
            sent.result()
        except (ConnectionError, concurrent.futures.CancelledError):
            _log.info("the client that listened to %s left", self.run_id)

    # --- loop ---------------------------------------------------------------------

    async def _send(self, body: protocol.OutputBody) -> None:
        if not self._is_closed:
            self._tell_output(body)
            await self._ls.peer.writer.drain()

    def _tell_output(self, body: protocol.OutputBody) -> None:
        whole = protocol.RunOutputBody(**body, folder=self._folder)
        self._ls.tell(protocol.OUTPUT, whole)
        showing.log_output(self._ls, self.run_id, body["stream"], body["text"])

    def _end(self, future: Future[RunInfo], then: Any) -> None:
        """After the last output. Whoever closed it knows already."""
        if self._is_closed or future.cancelled():
            return
        then()
        for stream, text in self._texts.items():
            body = text.body(self.run_id, stream, b"", final=True)
            if body["text"]:
                self._tell_output(body)
        words = self._last_words(future)
        self._ls.tell(protocol.RUN, words)
        showing.run_ended(self._ls, self.run_id, words)

    def _last_words(self, future: Future[RunInfo]) -> protocol.RunBody:
        error = future.exception()
        if error is None:
            return self._ls.runs.body(self._project, future.result(), False)
        body = protocol.RunBody(folder=self._folder, run=self.run_id, attached=False)
        if isinstance(error, DevsyncError) and error.code == "UnknownRun":
            body["state"] = "lost"
        body["error"] = protocol.error_body(error, verbose=self._ls.options.verbose)
        return body
