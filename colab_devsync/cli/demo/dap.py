"""What an editor does to stop at a breakpoint, in its smallest form, for the demo.

One session, one thread: messages are handled in the order they come. Speaks the Debug
Adapter Protocol to debugpy through the forwarded port; knows nothing of the VM.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from ...daemon import framing
from ...errors import DevsyncError

_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Breakpoint:
    """Where the program stopped."""

    path: str  # of the local file
    line: int
    function: str
    frame: int


class DebugSession:
    """One attached debugger. Close it, or use it as a context manager: the program
    then goes on without. DevsyncError when debugpy refuses or falls silent."""

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        self._configuration = dict(configuration)
        connect = configuration["connect"]
        self._socket = socket.create_connection(
            (connect["host"], connect["port"]), _TIMEOUT_S
        )
        self._stream = self._socket.makefile("rb")
        self._sent = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._events: list[dict[str, Any]] = []

    def __enter__(self) -> DebugSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()
        self._socket.close()

    def attach(self, path: str, line: int) -> None:
        """With one breakpoint. The program runs from here on."""
        self._ask("initialize", {"clientID": "demo", "adapterID": "debugpy"})
        # Answered only after the configuration is done.
        attached = self._send("attach", self._configuration)
        self._wait_event("initialized")
        places = {"source": {"path": path}, "breakpoints": [{"line": line}]}
        self._ask("setBreakpoints", places)
        self._ask("configurationDone")
        self._answer(attached)

    def wait_stop(self) -> Breakpoint:
        thread = self._wait_event("stopped")["threadId"]
        found = self._ask("stackTrace", {"threadId": thread, "levels": 1})
        frame = found["stackFrames"][0]
        return Breakpoint(
            frame["source"]["path"], frame["line"], frame["name"], frame["id"]
        )

    def locals(self, stop: Breakpoint) -> dict[str, str]:
        """The local variables where it stopped, as Python shows them."""
        scopes = self._ask("scopes", {"frameId": stop.frame})["scopes"]
        reference = {"variablesReference": scopes[0]["variablesReference"]}
        found = self._ask("variables", reference)["variables"]
        return {one["name"]: one["value"] for one in found}

    def leave(self) -> None:
        """The program goes on, without breakpoints."""
        self._ask("disconnect", {"terminateDebuggee": False})

    # --- messages -----------------------------------------------------------------

    def _ask(self, command: str, arguments: Any = None) -> dict[str, Any]:
        return self._answer(self._send(command, arguments))

    def _send(self, command: str, arguments: Any = None) -> int:
        self._sent += 1
        message = {"seq": self._sent, "type": "request", "command": command}
        if arguments is not None:
            message["arguments"] = arguments
        self._socket.sendall(framing.encode(message))
        return self._sent

    def _answer(self, number: int) -> dict[str, Any]:
        while number not in self._answers:
            self._read()
        body: dict[str, Any] = self._answers.pop(number).get("body") or {}
        return body

    def _wait_event(self, name: str) -> dict[str, Any]:
        """The next event of that name; its body."""
        while True:
            for event in self._events:
                if event["event"] == name:
                    self._events.remove(event)
                    return dict(event.get("body") or {})
            self._read()

    def _read(self) -> None:
        try:
            message = framing.read(self._stream)
        except OSError as exc:
            raise DevsyncError(f"debugpy does not answer: {exc}.") from exc
        if message is None:
            raise DevsyncError("debugpy closed the connection.")
        if message["type"] == "response":
            if not message["success"]:  # whatever we wait for will not come then
                raise DevsyncError(
                    f"debugpy refused {message['command']}: {message.get('message')}."
                )
            self._answers[message["request_seq"]] = message
        elif message["type"] == "event":
            self._events.append(message)
