"""A raw JSON-RPC client over stdio: what an editor does, without any LSP library."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any

TIMEOUT_S = 60.0
LSP = (sys.executable, "-m", "colab_devsync", "lsp")

Answer = Callable[[Any], Any]


class RpcError(Exception):
    """The server answered with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code: int = error["code"]
        self.data: dict[str, Any] = error.get("data") or {}


def nothing(_: Any) -> None:
    return None


class Editor:
    """One `colab-devsync lsp` process and what it has said so far."""

    def __init__(
        self,
        env: Mapping[str, str],
        *,
        cwd: Path,
        argv: Sequence[str] = LSP,
        answers: Mapping[str, Answer] | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.answers: dict[str, Answer] = {
            "window/workDoneProgress/create": nothing,
            "client/registerCapability": nothing,
            **(answers or {}),
        }
        self.said: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._pending: dict[int, Future[Any]] = {}
        self._count = 0
        self._writing = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Editor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    # --- saying -------------------------------------------------------------------

    def initialize(
        self,
        root: Path | None = None,
        *,
        options: dict[str, Any] | None = None,
        capabilities: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        folders = None
        if root is not None:
            folders = [{"uri": root.as_uri(), "name": root.name}]
        params = {
            "processId": None,
            "clientInfo": {"name": "wire"},
            "rootUri": root.as_uri() if root else None,
            "workspaceFolders": folders,
            "capabilities": capabilities or {"window": {"workDoneProgress": True}},
            "initializationOptions": options,
        }
        result: dict[str, Any] = self.request("initialize", params)
        self.notify("initialized", {})
        return result

    def request(
        self, method: str, params: Any = None, timeout_s: float = TIMEOUT_S
    ) -> Any:
        return self.start_request(method, params).result(timeout_s)

    def start_request(self, method: str, params: Any = None) -> Future[Any]:
        future: Future[Any] = Future()
        with self._changed:
            self._count += 1
            number = self._count
            self._pending[number] = future
        self._send({"id": number, "method": method, "params": params})
        return future

    def notify(self, method: str, params: Any = None) -> None:
        self._send({"method": method, "params": params})

    def command(self, name: str, *arguments: Any) -> Any:
        params = {"command": f"devsync.{name}", "arguments": list(arguments)}
        return self.request("workspace/executeCommand", params)

    def job(self, name: str, *arguments: Any) -> dict[str, Any]:
        """A long command's final notification."""
        started = self.command(name, *arguments)
        assert started["state"] == "started"
        body: dict[str, Any] = self.request(
            "colabDevsync/wait", {"job": started["job"]}
        )
        return body

    def open(self, path: Path, text: str, language: str = "toml") -> None:
        document = {
            "uri": path.as_uri(),
            "languageId": language,
            "version": 1,
            "text": text,
        }
        self.notify("textDocument/didOpen", {"textDocument": document})

    def change(self, path: Path, text: str, version: int = 2) -> None:
        document = {"uri": path.as_uri(), "version": version}
        params = {"textDocument": document, "contentChanges": [{"text": text}]}
        self.notify("textDocument/didChange", params)

    def at(self, path: Path, line: int, column: int) -> dict[str, Any]:
        """A place in a document, as requests about it name one."""
        position = {"line": line, "character": column}
        return {"textDocument": {"uri": path.as_uri()}, "position": position}

    def actions(
        self,
        path: Path,
        line: int,
        diagnostics: Sequence[dict[str, Any]] = (),
        only: Sequence[str] | None = None,
    ) -> dict[str, dict[str, Any]]:
        """The code actions at a line, by title."""
        place = {"line": line, "character": 0}
        context: dict[str, Any] = {"diagnostics": list(diagnostics)}
        if only is not None:
            context["only"] = list(only)
        params = {
            "textDocument": {"uri": path.as_uri()},
            "range": {"start": place, "end": place},
            "context": context,
        }
        found = self.request("textDocument/codeAction", params)
        return {one["title"]: one for one in found}

    def execute(self, command: dict[str, Any]) -> Any:
        """What a click on a lens or an action does."""
        arguments = command.get("arguments")
        params = {"command": command["command"], "arguments": arguments}
        return self.request("workspace/executeCommand", params)

    def finished(self, started: dict[str, Any]) -> dict[str, Any]:
        """The final notification of a command that was started."""
        assert started["state"] == "started"
        body: dict[str, Any] = self.request(
            "colabDevsync/wait", {"job": started["job"]}, 45
        )
        return body

    def save(self, path: Path, text: str | None = None) -> None:
        if text is not None:
            path.write_text(text, encoding="utf-8")
        params = {"textDocument": {"uri": path.as_uri()}}
        self.notify("textDocument/didSave", params)

    # --- hearing ------------------------------------------------------------------

    def wait_for(
        self,
        method: str,
        wanted: Callable[[Any], object] = lambda params: True,
        *,
        start: int = 0,
        timeout_s: float = TIMEOUT_S,
    ) -> Any:
        """The first such notification, among those from number `start` on."""
        found: list[Any] = []

        def look() -> bool:
            found[:] = [
                message["params"]
                for message in self.said[start:]
                if message["method"] == method and wanted(message["params"])
            ]
            return bool(found)

        with self._changed:
            assert self._changed.wait_for(look, timeout_s), (
                f"no {method} in {timeout_s} s; heard: {self.said[start:]}"
            )
        return found[0]

    def diagnostics(
        self, path: Path, wanted: Callable[[Any], object], start: int = 0
    ) -> list[dict[str, Any]]:
        uri = path.as_uri()
        params = self.wait_for(
            "textDocument/publishDiagnostics",
            lambda p: p["uri"] == uri and wanted(p["diagnostics"]),
            start=start,
        )
        found: list[dict[str, Any]] = params["diagnostics"]
        return found

    def wait_asked(self, method: str) -> Any:
        def look() -> bool:
            return any(message["method"] == method for message in self.asked)

        with self._changed:
            assert self._changed.wait_for(look, TIMEOUT_S), f"never asked {method}"
        return next(m["params"] for m in self.asked if m["method"] == method)

    # --- leaving ------------------------------------------------------------------

    def leave(self) -> int:
        """shutdown, exit; the process's exit code."""
        assert self.request("shutdown") is None
        self.notify("exit")
        return self.process.wait(TIMEOUT_S)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                continue

    def stderr(self) -> str:
        """All of it; after the process has ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    # --- wire ---------------------------------------------------------------------

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        pipe = self.process.stdin
        assert pipe is not None
        with self._writing:
            pipe.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            pipe.flush()

    def _read(self) -> None:
        while (message := self._receive()) is not None:
            if "method" in message and "id" in message:
                self._answer(message)
            elif "method" in message:
                with self._changed:
                    self.said.append(message)
                    self._changed.notify_all()
            else:
                future = self._pending.pop(message["id"], Future())
                if "error" in message:
                    future.set_exception(RpcError(message["error"]))
                else:
                    future.set_result(message["result"])
        for future in self._pending.values():
            future.set_exception(EOFError("the server has gone"))

    def _answer(self, message: dict[str, Any]) -> None:
        with self._changed:
            self.asked.append(message)
            self._changed.notify_all()
        answer = self.answers.get(message["method"])
        if answer is None:
            return  # an editor that never answers
        with contextlib.suppress(BrokenPipeError, ValueError):  # killed meanwhile
            self._send({"id": message["id"], "result": answer(message["params"])})

    def _receive(self) -> dict[str, Any] | None:
        pipe = self.process.stdout
        assert pipe is not None
        length = 0
        while (line := pipe.readline()) not in (b"", b"\r\n"):
            name, _, value = line.partition(b":")
            if name == b"Content-Length":
                length = int(value)
        body = pipe.read(length) if length else b""
        message: dict[str, Any] | None = json.loads(body) if body else None
        return message
