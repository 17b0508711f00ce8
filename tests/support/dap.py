"""A strict client of the Debug Adapter Protocol, over TCP.

One thread per session reads; the test's thread asks and waits. Whatever the adapter
does against the protocol is noted and fails the test at its next step, or at `close`:
sequence numbers, responses nobody waits for, events at the wrong time. Requests that
the adapter did not declare support for cannot be sent.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, BinaryIO

TIMEOUT_S = 60.0  # debugpy's own start on a loaded machine
Body = dict[str, Any]

# Which capability of the adapter allows a request; others are always there.
_NEEDS = {
    "configurationDone": "supportsConfigurationDoneRequest",
    "terminate": "supportsTerminateRequest",
    "exceptionInfo": "supportsExceptionInfoRequest",
    "setVariable": "supportsSetVariable",
    "setExpression": "supportsSetExpression",
    "modules": "supportsModulesRequest",
    "goto": "supportsGotoTargetsRequest",
    "setFunctionBreakpoints": "supportsFunctionBreakpoints",
}
# debugpy announces itself before anybody asks; nothing else may come first.
_EARLY = {"output", "debugpySockets"}
# The end of a session: after `terminated` the debuggee may only report its exit.
_AFTER_END = {"exited", "output", "thread", "debugpySockets", "terminated"}

# Messages that may have been overtaken when the connection ended.
_UNDER_WAY = 2

CLIENT = {
    "clientID": "tests",
    "adapterID": "debugpy",
    "linesStartAt1": True,
    "columnsStartAt1": True,
    "pathFormat": "path",
    "supportsVariableType": True,
    "supportsStartDebuggingRequest": True,
}


class DapFailure(Exception):
    """The adapter answered a request with an error."""


class ProtocolViolation(AssertionError):
    """The adapter (or this client) broke the protocol."""


@dataclass(frozen=True)
class Stop:
    """Where the debuggee stands."""

    thread: int
    reason: str
    frame: int
    path: str  # as the client names it
    line: int
    function: str


class DapClient:
    """One debug session. `arguments` are those of `attach`."""

    def __init__(
        self, arguments: Mapping[str, Any], timeout_s: float = TIMEOUT_S
    ) -> None:
        self.arguments = dict(arguments)
        self.hello = dict(CLIENT)  # a test may be another kind of client
        self.timeout_s = timeout_s
        self.capabilities: Body = {}
        self.events: list[Body] = []
        self.children: list[DapClient] = []
        self.violations: list[str] = []
        self._changed = threading.Condition()
        self._pending: dict[int, tuple[str, Future[Body]]] = {}
        self._sent = 0
        self._received: set[int] = set()
        self._ended = False
        self._configured = False
        self._stops_seen = 0
        self._attached: Future[Body] | None = None
        connect = arguments["connect"]
        address = (connect["host"], connect["port"])
        self._socket = socket.create_connection(address, timeout_s)
        self._socket.settimeout(None)
        self._stream: BinaryIO = self._socket.makefile("rb")
        self._writing = threading.Lock()
        self._reader = threading.Thread(target=self._read, name="dap", daemon=True)
        self._reader.start()

    def __enter__(self) -> DapClient:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.drop()
        if kind is None:
            self.check()
            # debugpy numbers its messages before it takes turns at writing them, so
            # neighbours may change places; but none may be missing.
            missing = set(range(1, max(self._received))) - self._received
            if len(missing) > _UNDER_WAY:
                raise ProtocolViolation(f"numbers that never came: {missing}")

    # --- the steps of a session ---------------------------------------------------

    def attach(
        self,
        breakpoints: Mapping[str, Sequence[int]] | None = None,
        exceptions: Sequence[str] = (),
    ) -> list[Body]:
        """The whole handshake. The breakpoints as the adapter verified them."""
        self.begin()
        verified = self.set_breakpoints(breakpoints or {})
        self.set_exception_filters(exceptions)
        self.finish_configuration()
        return verified

    def begin(self) -> None:
        """`initialize` and `attach` (or what the arguments call the request); the
        answer to the latter comes much later."""
        self.request("initialize", self.hello)
        request = self.arguments.get("request", "attach")
        self._attached = self.send(request, self.arguments)
        self.wait_event("initialized")

    def set_breakpoints(self, breakpoints: Mapping[str, Sequence[int]]) -> list[Body]:
        found: list[Body] = []
        for path, lines in breakpoints.items():
            body = {
                "source": {"path": path},
                "breakpoints": [{"line": line} for line in lines],
            }
            found += self.request("setBreakpoints", body)["breakpoints"]
        return found

    def set_exception_filters(self, filters: Sequence[str]) -> None:
        known = {
            one["filter"]
            for one in self.capabilities.get("exceptionBreakpointFilters", ())
        }
        if not known >= set(filters):
            raise ProtocolViolation(f"no such exception filters: {filters}; {known}")
        self.request("setExceptionBreakpoints", {"filters": list(filters)})

    def finish_configuration(self) -> None:
        """The debuggee runs from here on."""
        self.request("configurationDone")
        assert self._attached is not None
        self._attached.result(self.timeout_s)
        self.check()

    def wait_stop(self) -> Stop:
        """The next `stopped` event, and where that is."""
        stop = self.wait_stop_or_end()
        if stop is None:
            raise AssertionError("the debuggee ended instead of stopping")
        return stop

    def wait_stop_or_end(self) -> Stop | None:
        """None if it ran to its end."""
        event = self._wait(
            lambda: (
                self._nth_event("stopped", self._stops_seen)
                or self._nth_event("terminated", 0)
            ),
            "a stop",
        )
        if event["event"] == "terminated":
            return None
        self._stops_seen += 1
        body = event["body"]
        thread = body["threadId"]
        frames = self.request("stackTrace", {"threadId": thread})["stackFrames"]
        top = frames[0]
        path = top.get("source", {}).get("path", "")
        return Stop(thread, body["reason"], top["id"], path, top["line"], top["name"])

    def locals(self, stop: Stop) -> dict[str, str]:
        """The local variables of the top frame, as text."""
        scopes = self.request("scopes", {"frameId": stop.frame})["scopes"]
        (scope,) = [one for one in scopes if one["name"] == "Locals"]
        reference = {"variablesReference": scope["variablesReference"]}
        found = self.request("variables", reference)["variables"]
        return {one["name"]: one["value"] for one in found}

    def evaluate(self, stop: Stop, expression: str, context: str = "repl") -> str:
        body = {
            "expression": expression,
            "frameId": stop.frame,
            "context": context,
        }
        return str(self.request("evaluate", body)["result"])

    def resume(self, stop: Stop, how: str = "continue") -> None:
        """`how`: continue, next, stepIn, stepOut."""
        self.request(how, {"threadId": stop.thread})

    def step(self, stop: Stop, how: str = "next") -> Stop:
        self.resume(stop, how)
        return self.wait_stop()

    def wait_end(self) -> None:
        """Until the debuggee says that it is over; then leaves as editors do."""
        self.wait_event("terminated")
        self.disconnect()

    def disconnect(self, *, terminate: bool = False) -> None:
        self.request("disconnect", {"terminateDebuggee": terminate})
        self.drop()

    def drop(self) -> None:
        """As if the editor crashed. Idempotent."""
        for child in self.children:
            child.drop()
        with contextlib.suppress(OSError):  # the other side was faster
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._reader.join(self.timeout_s)
        self._stream.close()

    def wait_child(self, number: int = 0) -> DapClient:
        """The session of the `number`th child process, not yet attached."""

        def look() -> DapClient | None:
            return self.children[number] if len(self.children) > number else None

        return self._wait(look, f"child session {number}")

    # --- messages -----------------------------------------------------------------

    def request(self, command: str, arguments: Any = None) -> Body:
        """The body of the answer. DapFailure if the adapter refuses."""
        body = self.send(command, arguments).result(self.timeout_s)
        self.check()
        return body

    def send(self, command: str, arguments: Any = None) -> Future[Body]:
        needed = _NEEDS.get(command)
        if needed is not None and not self.capabilities.get(needed):
            raise ProtocolViolation(f"{command} needs {needed}: not declared")
        future: Future[Body] = Future()
        message: Body = {"type": "request", "command": command}
        if arguments is not None:
            message["arguments"] = arguments
        self._write(message, (command, future))
        return future

    def wait_event(self, name: str) -> Body:
        """The first event of that name, from the session's beginning."""
        return self._wait(lambda: self._nth_event(name, 0), f"event {name}")

    def output(self, category: str = "stdout") -> str:
        """What the debuggee printed so far."""
        bodies = [one["body"] for one in self.events if one["event"] == "output"]
        return "".join(b["output"] for b in bodies if b.get("category") == category)

    def wait_output(self, text: str) -> None:
        self._wait(lambda: text in self.output(), f"output {text!r}")

    def check(self) -> None:
        """ProtocolViolation if there was any, here or in a child's session."""
        for session in [self, *self.children]:
            if session.violations:
                raise ProtocolViolation("; ".join(session.violations))

    def _nth_event(self, name: str, number: int) -> Body | None:
        found = [one for one in self.events if one["event"] == name]
        return found[number] if len(found) > number else None

    def _wait(self, look: Callable[[], Any], what: str) -> Any:
        with self._changed:
            self._changed.wait_for(lambda: look() or self._ended, self.timeout_s)
            found = look()
        self.check()
        if not found:
            names = [one["event"] for one in self.events[-12:]]
            state = "the connection ended" if self._ended else "in time"
            raise AssertionError(f"waited in vain for {what} ({state}); {names}")
        return found

    def _write(
        self, message: Body, waiting: tuple[str, Future[Body]] | None = None
    ) -> None:
        with self._writing:
            self._sent += 1
            if waiting is not None and not self._expect(self._sent, waiting):
                return
            data = json.dumps({"seq": self._sent, **message}).encode()
            with contextlib.suppress(OSError):  # `_read` tells who waits
                self._socket.sendall(b"Content-Length: %d\r\n\r\n" % len(data) + data)

    def _expect(self, number: int, waiting: tuple[str, Future[Body]]) -> bool:
        """Whether an answer can still come; else whoever waits learns it now."""
        with self._changed:
            if not self._ended:
                self._pending[number] = waiting
                return True
        _fail(waiting)
        return False

    # --- the reader's thread ------------------------------------------------------

    def _read(self) -> None:
        try:
            while (message := _next(self._stream)) is not None:
                with self._changed:
                    self._take(message)
                    self._changed.notify_all()
        except (OSError, ValueError) as exc:
            if not isinstance(exc, ConnectionError):
                self.violations.append(f"unreadable: {exc!r}")
        finally:
            with self._changed:
                self._ended = True
                left = list(self._pending.values())
                self._changed.notify_all()
            for waiting in left:
                _fail(waiting)

    def _take(self, message: Body) -> None:
        number = message.get("seq")
        if not isinstance(number, int) or number < 1 or number in self._received:
            self._violated(f"seq {number!r} is none, or came twice")
        else:
            self._received.add(number)
        kinds = {
            "response": self._take_response,
            "event": self._take_event,
            "request": self._take_request,
        }
        take = kinds.get(str(message.get("type")))
        if take is None:
            self._violated(f"message of type {message.get('type')!r}")
        else:
            take(message)

    def _take_response(self, message: Body) -> None:
        waiting = self._pending.pop(message["request_seq"], None)
        if waiting is None:
            self._violated(f"nobody asked: {message}")
            return
        command, future = waiting
        if message["command"] != command:
            self._violated(f"{message['command']} answers {command}")
        if command == "configurationDone":
            self._configured = True
        if message["success"]:
            body = message.get("body") or {}
            if command == "initialize":
                self.capabilities = body
            future.set_result(body)
        else:
            future.set_exception(DapFailure(f"{command}: {message.get('message')}"))

    def _take_event(self, message: Body) -> None:
        name = message["event"]
        past = {one["event"] for one in self.events}
        if not self.capabilities and name not in _EARLY:
            self._violated(f"{name} before the answer to initialize")
        if name == "initialized" and name in past:
            self._violated("initialized comes once")
        # The answer to configurationDone may be overtaken by what it starts.
        asked = {command for command, _ in self._pending.values()}
        configured = self._configured or "configurationDone" in asked
        if name in ("stopped", "continued") and not configured:
            self._violated(f"{name} before the configuration was done")
        if "terminated" in past and name not in _AFTER_END:
            self._violated(f"{name} after terminated")
        self.events.append(message)

    def _take_request(self, message: Body) -> None:
        """A reverse request: we declared one kind."""
        answer: Body = {
            "type": "response",
            "request_seq": message["seq"],
            "command": message["command"],
            "success": message["command"] == "startDebugging",
        }
        if answer["success"]:
            arguments = message["arguments"]
            if arguments["request"] != "attach":
                self._violated(f"startDebugging asks to {arguments['request']}")
            child = DapClient(arguments["configuration"], self.timeout_s)
            self.children.append(child)
        else:
            self._violated(f"reverse request {message['command']} was not declared")
        self._write(answer)

    def _violated(self, what: str) -> None:
        self.violations.append(what)


def _fail(waiting: tuple[str, Future[Body]]) -> None:
    command, future = waiting
    if not future.done():
        future.set_exception(DapFailure(f"{command}: connection ended"))


def _next(stream: BinaryIO) -> Body | None:
    """The next message; None at the end. ValueError for anything else."""
    length = None
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.rstrip(b"\r\n").partition(b": ")
        if name != b"Content-Length" or length is not None:
            raise ValueError(f"header {line!r}")
        length = int(value)
    if line == b"":
        return None
    if length is None:
        raise ValueError("no Content-Length")
    data = stream.read(length)
    if len(data) < length:
        return None
    message = json.loads(data)
    if not isinstance(message, dict):
        raise ValueError("not an object")
    return message
