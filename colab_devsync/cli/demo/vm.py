"""The demo's editor: a client of a daemon of its own, which waits for what it expects.

Runs on the calling thread; `devsync-demo-clock` ends a wait that takes too long. Ends
the daemon when it is closed.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

from ...daemon.address import current_address
from ...daemon.client import DaemonGone, RemoteFailure
from ...daemon.spawn import connect_to, start
from ...errors import DevsyncError
from ..settings import Settings
from ..talk import Talk

JSON = dict[str, Any]
Listen = Callable[[str, JSON], None]

LIMIT_S = 90
_DAEMON_END_S = 5


class DemoVm:
    def __init__(self, project: Path) -> None:
        self.project = project
        self._listen: Listen = _ignore
        self._awaited: Future[Any] = Future()
        self._over = threading.Event()
        address = current_address()
        self._daemon = start(address)
        try:
            connect_to(self._daemon, address)[0].close()
            self._talk = Talk(
                Settings(project=project),
                notified=lambda method, body: self._listen(method, body),
            )
        except BaseException:  # ctrl-C, too: nobody else knows of this daemon
            self._kill()
            raise

    def __enter__(self) -> DemoVm:
        try:
            self._talk.__enter__()
        except BaseException:
            self._kill()
            raise
        threading.Thread(
            target=self._watch_clock, name="devsync-demo-clock", daemon=True
        ).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        client = self._talk.client
        try:
            with contextlib.suppress(DaemonGone):
                if kind is not None:
                    self._stop_runs()
                client.request("colabDevsync/daemon", {"stop": True})
                client.run_until(client.closed)
        finally:
            client.close()
            self._wait_until_ended()

    def _stop_runs(self) -> None:
        """They would outlive us, as runs do, after ctrl-C in the middle of one. Waits
        for their ends, which are written to the folder that is to go."""
        until = time.monotonic() + _DAEMON_END_S
        with contextlib.suppress(RemoteFailure):
            while time.monotonic() < until:
                runs = self.command("runs")["runs"]
                running = [run["run"] for run in runs if run["state"] == "running"]
                if not running:
                    return
                for run in running:
                    self.command("stop", run=run, kill=True)

    def _wait_until_ended(self) -> None:
        """After that, its files can go."""
        try:
            self._daemon.wait(_DAEMON_END_S)
        except subprocess.TimeoutExpired:
            self._kill()

    def _kill(self) -> None:
        self._daemon.kill()
        self._daemon.wait()

    def command(self, name: str, **arguments: Any) -> JSON:
        """A short command's answer. RemoteFailure."""
        argument = {"folder": str(self.project), **arguments}
        params = {"command": f"devsync.{name}", "arguments": [argument]}
        answer: JSON = self._talk.client.request("workspace/executeCommand", params)
        return answer

    def job(
        self, name: str, on_progress: Callable[[JSON], None] | None = None, **more: Any
    ) -> JSON:
        """A long command, to its end. RemoteFailure."""

        def listen(method: str, body: JSON) -> None:
            mine = method == "colabDevsync/job" and body["state"] == "progress"
            if mine and on_progress is not None:
                on_progress(body)

        return self._finish(self.command(name, **more)["job"], listen)

    def exec(self, argv: list[str], on_line: Callable[[str], None]) -> list[str]:
        """Runs it on the VM; its lines, each also given to `on_line` as it comes."""
        lines = _Lines(on_line)
        params = {"folder": str(self.project), "argv": argv}
        started = self._talk.client.send_request("colabDevsync/exec", params)
        job = self._run(started, lines.listen)["job"]
        _check(argv, self._finish(job, lines.listen)["exitCode"])
        return lines.whole

    def run(self, on_line: Callable[[str], None], **what: Any) -> list[str]:
        """The same as a run, which would go on without us."""
        lines = _Lines(on_line)
        ended: Future[JSON] = Future()

        def listen(method: str, body: JSON) -> None:
            lines.listen(method, body)
            if method == "colabDevsync/run" and body["state"] != "running":
                ended.set_result(body)

        self._finish(self.command("run", **what)["job"], listen)
        _check([str(what)], self._run(ended, listen).get("exitCode"))
        return lines.whole

    def start(self, until: Callable[[str], bool], **what: Any) -> str:
        """Starts a run and leaves it; the first line for which `until` is true."""
        found: Future[str] = Future()

        def on_line(line: str) -> None:
            if not found.done() and until(line):
                found.set_result(line)

        lines = _Lines(on_line)
        self._finish(self.command("run", **what)["job"], lines.listen)
        return str(self._run(found, lines.listen))

    def save(self, path: Path) -> None:
        """What an editor says after it has written a file."""
        document = {"textDocument": {"uri": path.as_uri()}}
        self._talk.client.notify("textDocument/didSave", document)

    def wait_mirrored(self, paths: set[str]) -> None:
        """Until the VM has acknowledged a save of each."""
        missing = set(paths)

        def complete(body: JSON) -> bool:
            missing.discard(body["path"])
            return not missing

        self.wait("colabDevsync/mirrored", complete)

    def wait_status(self, wanted: Callable[[JSON], bool]) -> JSON:
        return self.wait("colabDevsync/status", wanted)

    def wait(self, kind: str, wanted: Callable[[JSON], bool]) -> JSON:
        """The notification. None is missed that comes after the last call's end,
        because they are only looked at in here."""
        expected: Future[JSON] = Future()

        def listen(method: str, body: JSON) -> None:
            if method == kind and not expected.done() and wanted(body):
                expected.set_result(body)

        found: JSON = self._run(expected, listen)
        return found

    def _finish(self, job: str, listen: Listen) -> JSON:
        final = self._talk.client.send_request("colabDevsync/wait", {"job": job})
        self._run(final, listen)
        # It has ended: this only takes its result, or raises its failure.
        return self._talk.finish(job)

    def _run(self, future: Future[Any], listen: Listen) -> Any:
        self._listen, self._awaited = listen, future
        try:
            return self._talk.client.run_until(future)
        except CancelledError as exc:
            raise DevsyncError(
                f"The demo is not done after {LIMIT_S} s.",
                "`colab-devsync doctor` says what is wrong with this machine.",
            ) from exc
        finally:
            self._listen = _ignore

    def _watch_clock(self) -> None:
        if not self._over.wait(LIMIT_S):
            self._awaited.cancel()
            self._talk.client.close()


class _Lines:
    """Output cut into lines."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self.whole: list[str] = []
        self._on_line = on_line
        self._rest = ""

    def listen(self, method: str, body: JSON) -> None:
        if method != "colabDevsync/output":
            return
        *done, self._rest = (self._rest + body["text"]).split("\n")
        for line in done:
            self.whole.append(line)
            self._on_line(line)


def _check(argv: list[str], code: int | None) -> None:
    if code != 0:
        raise DevsyncError(f"`{' '.join(argv)}` exited with {code} on the VM.")


def _ignore(method: str, body: JSON) -> None:
    """Nobody waits for anything now."""
