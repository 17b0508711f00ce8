"""Programs started by `colabDevsync/exec`: output to the one client that asked.

Lives on the loop. `Process._on_output` runs on the program's own thread and waits there
until the client's socket has drained, so a slow reader holds the program back instead
of filling memory. When the client leaves, its programs are ended.
"""

from __future__ import annotations

import asyncio
import codecs
import concurrent.futures
import logging
import threading
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import DevsyncError
from . import patience, protocol
from .bridge import in_thread, settle
from .protocol import ExecStarted, OutputBody, RunBody

if TYPE_CHECKING:
    from ..daemon.hub import Project
    from ..engine.programs.process import ExecSpec, RemoteProcess, TerminalSize
    from .jobs import Job
    from .server import DevsyncServer

_log = logging.getLogger(__name__)

_TERM_TIMEOUT_S = 3.0
_INSTALLERS = {"pip", "pip3", "uv", "conda", "mamba"}


class Process:
    """One program."""

    def __init__(self, ls: DevsyncServer, name: str) -> None:
        self.id = name
        self.job: Job | None = None
        self._ls = ls
        self._goodbye = "TERM"
        self._size: TerminalSize | None = None  # not yet told to the program
        self._is_resizing = False
        self._streams: dict[str, Text] = {}
        self._remote: asyncio.Future[RemoteProcess] = ls.loop.create_future()
        self._writing = asyncio.Lock()

    async def run(self, project: Project, spec: ExecSpec, *, stdin: bool) -> int:
        """Until the program's end; its exit code."""
        try:
            return await self._run(project, spec, stdin=stdin)
        finally:
            self._remote.cancel()  # nobody shall wait for a start that failed

    async def _run(self, project: Project, spec: ExecSpec, *, stdin: bool) -> int:
        self._tell("starting")
        if spec.tty is not None:
            self._goodbye = "HUP"  # a shell ignores TERM
        what = spec.argv[0] if spec.argv else "the shell"
        patience.attend(self._ls, project, what, self._remote)
        starting = project.session.exec(spec, self._on_output)
        try:
            remote = await settle(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(self._end_if_started)
            raise
        except DevsyncError:
            self._tell("failed")
            raise
        self._remote.set_result(remote)
        self._tell("running")
        if not stdin:
            await in_thread(remote.close_stdin, "stdin")
        try:
            code = await settle(remote.exit_code)
        except asyncio.CancelledError:
            _end(remote, self._goodbye)
            raise
        except DevsyncError:
            self._tell("failed")
            raise
        self._flush()
        self._tell("exited", code)
        return code

    async def write(self, text: str, *, eof: bool) -> None:
        """Waits until the program's stdin has taken it."""
        data = text.encode("utf-8", "surrogateescape")
        remote = await asyncio.shield(self._remote)
        async with self._writing:
            if data:
                await in_thread(lambda: remote.write_stdin(data), "stdin")
            if eof:
                await in_thread(remote.close_stdin, "stdin")

    def signal(self, name: str) -> None:
        """A program that does not run yet is not started at all."""
        if self._remote.done():
            remote = self._remote.result()
            self._ls.spawn(in_thread(lambda: remote.signal(name), "signal"))
        elif self.job is not None:
            self._ls.jobs.cancel(self.job.id)

    def resize(self, rows: int, columns: int) -> None:
        """Only the last of many sizes has to arrive."""
        from ..engine.programs.process import (
            TerminalSize,  # loaded with the first session
        )

        self._size = TerminalSize(rows, columns)
        if not self._is_resizing:
            self._is_resizing = True
            self._ls.spawn(self._send_size())

    async def _send_size(self) -> None:
        remote = await asyncio.shield(self._remote)
        while (size := self._size) is not None:
            self._size = None
            await in_thread(partial(remote.resize, size), "signal")
        self._is_resizing = False

    # --- the program's thread -----------------------------------------------------

    def _on_output(self, stream: str, data: bytes) -> None:
        text = self._streams.setdefault(stream, Text())
        body = text.body(self.id, stream, data)
        if self._ls.closed or not body["text"]:
            return
        sent = asyncio.run_coroutine_threadsafe(self._send(body), self._ls.loop)
        try:
            sent.result()
        except (ConnectionError, concurrent.futures.CancelledError):
            _log.info("the client of %s left; its output is dropped", self.id)

    # --- loop ---------------------------------------------------------------------

    async def _send(self, body: OutputBody) -> None:
        self._ls.tell(protocol.OUTPUT, body)
        await self._ls.peer.writer.drain()

    def _flush(self) -> None:
        for stream, text in self._streams.items():
            body = text.body(self.id, stream, b"", final=True)
            if body["text"]:
                self._ls.tell(protocol.OUTPUT, body)

    def _end_if_started(self, starting: Future[RemoteProcess]) -> None:
        if not starting.cancelled() and starting.exception() is None:
            _end(starting.result(), self._goodbye)

    def _tell(self, state: Any, code: int | None = None) -> None:
        body = RunBody(run=self.id, state=state)
        if code is not None:
            body["exitCode"] = code
        self._ls.tell(protocol.RUN, body)


class Text:
    """Bytes of one stream as text that can be turned back into the same bytes."""

    def __init__(self, offset: int = 0) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        self._offset = offset

    def body(
        self, run: str, stream: str, data: bytes, *, final: bool = False
    ) -> OutputBody:
        text, offset = self._decode(data, final), self._offset
        self._offset += len(text.encode("utf-8", "surrogateescape"))
        return OutputBody(run=run, offset=offset, stream=stream, text=text)


class Processes:
    """The programs of one client."""

    def __init__(self, ls: DevsyncServer) -> None:
        self._ls = ls
        self._count = 0
        self._running: dict[str, Process] = {}

    def start(self, project: Project, args: dict[str, Any]) -> ExecStarted:
        spec = _spec(args)
        self._count += 1
        process = Process(self._ls, f"exec-{self._count}")
        self._running[process.id] = process

        async def operation(_: Job) -> dict[str, Any]:
            try:
                code = await process.run(project, spec, stdin=bool(args["stdin"]))
            finally:
                del self._running[process.id]
            if _INSTALLERS & set(spec.argv):
                project.session.glance.forget()
            return {"run": process.id, "exitCode": code}

        title = "a shell" if spec.shell else spec.argv[0]
        started = self._ls.jobs.start(protocol.EXEC, title, operation)
        process.job = self._ls.jobs.get(started["job"])
        return ExecStarted(run=process.id, job=started["job"], state="started")

    def get(self, name: str) -> Process:
        process = self._running.get(name)
        if process is None:
            raise DevsyncError(f"No program {name!r} runs on this connection.")
        return process


def _spec(args: dict[str, Any]) -> ExecSpec:
    from ..engine.programs.process import (  # loaded with the first session
        ExecSpec,
        TerminalSize,
    )

    tty: dict[str, Any] = args["tty"] or {}
    return ExecSpec(
        argv=tuple(map(str, args["argv"] or ())),
        cwd=args["cwd"] or ".",
        env=args["env"],
        shell=bool(args["shell"]),
        tty=TerminalSize(tty["rows"], tty["cols"]) if tty else None,
        term=tty.get("term") or "",
    )


def _end(remote: RemoteProcess, goodbye: str) -> None:
    """A signal, a moment, the end; on a thread, because signals travel to the VM."""

    def run() -> None:
        try:
            remote.signal(goodbye)
            remote.exit_code.result(_TERM_TIMEOUT_S)
        except (TimeoutError, concurrent.futures.TimeoutError):
            _log.info("a program did not end after SIG%s; killing it", goodbye)
        except DevsyncError:
            pass  # the link is gone; the agent ends what it started
        finally:
            remote.close()

    threading.Thread(target=run, name="devsync-end", daemon=True).start()
