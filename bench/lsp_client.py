"""A raw JSON-RPC client over `colab-devsync lsp`: what an editor does, with clocks.

One reader thread stamps each message when its last byte is in; any thread may send.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

JSON = dict[str, Any]

# What an editor answers to the questions a server may ask.
_ANSWERS: dict[str, Callable[[JSON], Any]] = {
    "workspace/configuration": lambda params: [None] * len(params["items"]),
}


@dataclass(frozen=True)
class Note:
    """A notification and the `perf_counter` second at which it was here."""

    at: float
    method: str
    params: JSON


class LspClient:
    def __init__(
        self, argv: list[str], *, cwd: Path, env: Mapping[str, str], log: Path
    ) -> None:
        self._log: IO[bytes] = log.open("ab")
        self.process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self.notes: list[Note] = []
        self._changed = threading.Condition()
        self._ended = False
        self._pending: dict[int, Future[Any]] = {}
        self._next = 0
        self._send_lock = threading.Lock()
        self._reader = threading.Thread(
            target=self._read, name="devsync-bench-lsp", daemon=True
        )
        self._reader.start()

    def __enter__(self) -> LspClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def initialize(self, folder: Path, timeout_s: float = 30) -> JSON:
        """The handshake every editor makes for one folder."""
        answer: JSON = self.request(
            "initialize",
            {
                "processId": None,
                "rootUri": folder.as_uri(),
                "capabilities": {"window": {"workDoneProgress": True}},
                # Rows decide themselves when the connection is made.
                "initializationOptions": {"autoConnect": False},
                "workspaceFolders": [{"uri": folder.as_uri(), "name": folder.name}],
            },
            timeout_s,
        )
        self.notify("initialized", {})
        return answer

    def command(self, name: str, argument: JSON, timeout_s: float = 30) -> Any:
        """`workspace/executeCommand`; a job is waited for, its failure raised."""
        params = {"command": name, "arguments": [argument]}
        answer = self.request("workspace/executeCommand", params, timeout_s)
        if not (isinstance(answer, dict) and "job" in answer):
            return answer
        end = self.request("colabDevsync/wait", {"job": answer["job"]}, timeout_s)
        if end["state"] != "done":
            raise RuntimeError(f"{name}: {end}")
        return end.get("result")

    def save(self, path: Path) -> float:
        """Tells the server that `path` was written; the second it was told."""
        at = time.perf_counter()
        self.notify("textDocument/didSave", {"textDocument": {"uri": path.as_uri()}})
        return at

    def request(self, method: str, params: JSON, timeout_s: float = 30) -> Any:
        answer: Future[Any] = Future()
        with self._send_lock:
            self._next += 1
            number = self._next
            self._pending[number] = answer
        self._send({"id": number, "method": method, "params": params})
        return answer.result(timeout_s)

    def notify(self, method: str, params: JSON) -> None:
        self._send({"method": method, "params": params})

    def mark(self) -> int:
        """A place in the notes, to wait only for later ones."""
        with self._changed:
            return len(self.notes)

    def wait_for(
        self,
        method: str,
        wanted: Callable[[JSON], bool],
        *,
        since: int = 0,
        timeout_s: float = 60,
    ) -> Note:
        """The first such notification. TimeoutError names what came instead."""
        end = time.monotonic() + timeout_s
        with self._changed:
            while True:
                for note in self.notes[since:]:
                    if note.method == method and wanted(note.params):
                        return note
                if self._ended:
                    raise ConnectionError(f"the server ended; no {method} came")
                left = end - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    seen = [note.method for note in self.notes[since:]][-10:]
                    raise TimeoutError(f"no {method} in {timeout_s} s; seen: {seen}")

    def close(self) -> None:
        if self.process.poll() is None:
            try:
                self.request("shutdown", {}, 10)
                self.notify("exit", {})
            except (OSError, TimeoutError):
                self.process.kill()
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self._reader.join(5)
        self._log.close()

    def _send(self, message: JSON) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin
        with self._send_lock:
            self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
            self.process.stdin.flush()

    def _read(self) -> None:
        stream = self.process.stdout
        assert stream
        try:
            while (message := _next_message(stream)) is not None:
                self._take(message, time.perf_counter())
        finally:
            for future in self._pending.values():
                if not future.done():
                    future.set_exception(ConnectionError("the server ended"))
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _take(self, message: JSON, at: float) -> None:
        method = message.get("method")
        if method is None:
            future = self._pending.pop(message["id"])
            if "error" in message:
                future.set_exception(RuntimeError(str(message["error"])))
            else:
                future.set_result(message.get("result"))
        elif "id" in message:
            answer = _ANSWERS.get(method)
            result = answer(message.get("params") or {}) if answer else None
            self._send({"id": message["id"], "result": result})
        else:
            with self._changed:
                self.notes.append(Note(at, method, message.get("params") or {}))
                self._changed.notify_all()


def _next_message(stream: IO[bytes]) -> JSON | None:
    length = 0
    while line := stream.readline():
        if line == b"\r\n":
            body: JSON = json.loads(stream.read(length))
            return body
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return None
