"""`dap`: a debug adapter for editors that start one on stdin and stdout.

The main thread takes the editor's messages in order. It starts the program through the
daemon and then hands on what either side says; debugpy on the VM does the debugging.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import click

from ..core import dap as protocol
from ..core.dap import Message
from ..daemon import framing
from ..daemon.client import RemoteFailure
from ..daemon.projects import find_root
from ..errors import DevsyncError, RunError
from .settings import Settings, current, global_options
from .talk import Talk

_CONNECT_S = 30.0
_LEAVING = ("disconnect", "terminate")


@click.command()
@global_options(hidden=True)
def dap() -> None:
    """Speak the Debug Adapter Protocol on stdin and stdout; editors start this.

    `launch` takes `program` or `module`, and `args`; without either it is what [run]
    names. `attach` takes `run` or `pid` (a program on the VM), or `connect`.
    """
    # Not sys.stdin: at the end Python would wait for the thread that reads it.
    source = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    Adapter(current(), source, sys.stdout.buffer).run()


class Adapter:
    """One debug session."""

    def __init__(self, settings: Settings, source: BinaryIO, sink: BinaryIO) -> None:
        self._settings = settings
        self._source = source
        self._sink = sink
        self._inbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._leaving = threading.Event()
        self._talk: Talk | None = None
        self._writing = threading.Lock()
        self._sent = 0
        self._asked: dict[int, int] = {}  # our number of debugpy's question: its own
        self._hello: Message | None = None
        self._start: Message | None = None
        self._debugpy: socket.socket | None = None
        self._ended = False
        self._left: Message | None = None  # asks debugpy to end; not answered yet

    def run(self) -> None:
        threading.Thread(
            target=self._read, name="devsync-dap-input", daemon=True
        ).start()
        try:
            while (message := self._inbox.get()) is not None:
                if not self._take(message):
                    break
            if self._left is not None:  # debugpy had gone already
                self._tell(protocol.response(self._left, {}))
        finally:
            if self._debugpy is not None:
                with contextlib.suppress(OSError):
                    self._debugpy.shutdown(socket.SHUT_RDWR)

    # --- the editor ---------------------------------------------------------------

    def _read(self) -> None:
        """On the reader's thread. None in the inbox: the editor has gone."""
        try:
            while (message := framing.read(self._source)) is not None:
                self._inbox.put(message)
                if message.get("command") in _LEAVING:
                    self._leave()
        except (OSError, ValueError, DevsyncError):
            pass  # as if it had ended there
        self._leave()
        self._inbox.put(None)

    def _leave(self) -> None:
        """A program that is just being started is not wanted any more."""
        self._leaving.set()
        if self._talk is not None:
            self._talk.client.wake()

    def _take(self, message: Message) -> bool:
        """False ends the session."""
        if self._debugpy is not None:
            self._hand_on(message)
            return True  # `_answers` knows when it is over
        command = message.get("command")
        if command == "initialize":
            self._hello = message
            self._tell(protocol.response(message, protocol.capabilities()))
        elif command in ("launch", "attach"):
            self._begin(message)
        elif command in _LEAVING:
            self._tell(protocol.response(message, {}))
            return False
        elif message.get("type") == "request":
            self._tell(protocol.refusal(message, "Nothing is being debugged yet."))
        return True

    def _hand_on(self, message: Message) -> None:
        if message.get("type") == "response":
            number = self._asked.pop(message.get("request_seq", 0), None)
            if number is None:
                return
            message["request_seq"] = number
        elif message.get("command") == "disconnect":
            self._left = message
            if self._launched:
                ending = protocol.ends_debuggee(message.get("arguments"))
                message = {**message, "arguments": ending}
        self._send(message)

    @property
    def _launched(self) -> bool:
        return self._start is not None and self._start["command"] == "launch"

    # --- starting -----------------------------------------------------------------

    def _begin(self, request: Message) -> None:
        asked = request.get("arguments") or {}
        hello = self._hello or {"seq": 0}
        client = hello.get("arguments") or {}
        try:
            configuration = self._configuration(request["command"], asked, client)
            connect = configuration["connect"]
            address = (connect["host"], connect["port"])
            connection = socket.create_connection(address, _CONNECT_S)
        except KeyboardInterrupt:
            self._tell(protocol.refusal(request, "cancelled"))
            return
        except (DevsyncError, OSError) as error:
            hint = error.hint if isinstance(error, DevsyncError) else ""
            self._tell(protocol.refusal(request, f"{error} {hint}".strip()))
            return
        connection.settimeout(None)
        self._start, self._debugpy = request, connection
        arguments = protocol.attach_arguments(configuration, asked)
        begun = {"type": "request", "seq": hello["seq"], "command": "initialize"}
        self._send({**begun, "arguments": client})
        self._send({**request, "command": "attach", "arguments": arguments})
        threading.Thread(target=self._answers, name="devsync-dap", daemon=True).start()

    def _configuration(
        self, command: str, asked: Mapping[str, Any], client: Mapping[str, Any]
    ) -> dict[str, Any]:
        """DevsyncError; KeyboardInterrupt when the editor does not want it any more."""
        keys = ("run", "pid") if command == "attach" else ("module", "args")
        wanted = {key: asked[key] for key in keys if asked.get(key)}
        if command == "attach" and "connect" in asked and not wanted:
            return dict(asked)  # a child process, or `debug` was run in a terminal
        program = asked.get("program") if command == "launch" else None
        if not isinstance(program, str | None):
            raise RunError(f"'program' can't be {program!r}.", "It is a file's name.")
        if program:
            wanted["file"] = program
        wanted["subProcess"] = protocol.child_sessions(asked, client)
        settings = self._in_project(asked.get("cwd"), program)
        with Talk(settings, notified=self._notified) as talk:
            self._talk = talk
            try:
                return self._started(talk, wanted)
            finally:
                self._talk = None

    def _in_project(self, cwd: str | None, program: str | None) -> Settings:
        """An editor may start us anywhere: the file says which project it is, else
        the folder that the configuration names, else where we are."""
        settings = self._settings
        near = (os.path.dirname(program) if program else "", cwd or "")
        for folder in near if settings.project is None else ():
            if os.path.isabs(folder) and find_root(Path(folder)) is not None:
                return replace(settings, project=Path(folder))
        return settings

    def _started(self, talk: Talk, wanted: dict[str, Any]) -> dict[str, Any]:
        job = talk.in_project("debug", **wanted)["job"]
        final = talk.client.send_request("colabDevsync/wait", {"job": job})

        def look_up() -> None:
            if self._leaving.is_set():
                self._leaving.clear()
                talk.client.send_request(
                    "workspace/executeCommand",
                    {"command": "devsync.cancel", "arguments": [{"job": job}]},
                )

        if self._leaving.is_set():
            talk.client.wake()
        body = talk.client.run_until(final, on_wake=look_up)
        if body["state"] == "cancelled":
            raise KeyboardInterrupt
        if body["state"] == "failed":
            raise RemoteFailure(body["error"])
        configuration: dict[str, Any] = body["result"]["configuration"]
        return configuration

    def _notified(self, method: str, params: Any) -> None:
        """What a start takes its time for stands in the debug console."""
        if method == "colabDevsync/job" and params.get("message"):
            text = {"category": "console", "output": f"{params['message']}\n"}
            self._tell(protocol.event("output", text))

    # --- debugpy ------------------------------------------------------------------

    def _answers(self) -> None:
        """On a thread of its own: what debugpy says, under our numbers."""
        assert self._debugpy is not None
        stream = self._debugpy.makefile("rb")
        with contextlib.suppress(OSError, ValueError, DevsyncError):
            while (message := framing.read(stream)) is not None:
                self._tell(self._changed(message))
        if not self._ended:  # the link was lost, or somebody ended the program
            self._tell(protocol.event("terminated"))
        self._inbox.put(None)

    def _changed(self, message: Message) -> Message:
        assert self._start is not None
        kind, number = message.get("type"), message.get("request_seq")
        if kind == "response" and self._hello and number == self._hello["seq"]:
            body = {"capabilities": message.get("body") or {}}
            return protocol.event("capabilities", body)
        if kind == "response" and number == self._start["seq"]:
            message["command"] = self._start["command"]
        if kind == "response" and self._left and number == self._left["seq"]:
            self._left = None
        if message.get("event") == "terminated":
            self._ended = True
        return message

    def _send(self, message: Message) -> None:
        assert self._debugpy is not None
        with contextlib.suppress(OSError):  # its last words may still be on their way
            self._debugpy.sendall(framing.encode(message))

    def _tell(self, message: Message) -> None:
        with self._writing:
            self._sent += 1
            if message["type"] == "request":
                self._asked[self._sent] = message["seq"]
            with contextlib.suppress(OSError, ValueError):  # the editor has gone
                self._sink.write(framing.encode({**message, "seq": self._sent}))
                self._sink.flush()
