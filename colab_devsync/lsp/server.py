"""One pygls server per client, and what all its handlers share.

Lives on the loop. pygls 2.1 is bent in five places, each measured to be needed in a
process that lives for days: raw parameters for messages of our own, finished futures
are dropped, errors are logged instead of popped up, a request that cannot be read is
answered, and `exit` ends the connection instead of the process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import attrs
from lsprotocol import converters, types
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol
from pygls.protocol.json_rpc import (
    JsonRPCNotification,
    JsonRPCRequestMessage,
    JsonRPCResponseMessage,
    RPCMessage,
)

from .. import __version__
from ..daemon.hub import Hub
from ..daemon.server import Peer
from .diagnostics import Diagnostics
from .folders import Folders
from .jobs import Jobs
from .module_hints import ModuleHints
from .processes import Processes
from .protocol import CLI_NAME, ErrorBody
from .runs import Runs

_log = logging.getLogger(__name__)

T = TypeVar("T")

_SLOW_READER_BYTES = 32_000_000
"""A client that leaves this much unread has hung; it may not eat our memory."""


@dataclass(frozen=True)
class ClientOptions:
    """What a client said at `initialize`."""

    is_cli: bool = False
    auto_connect: bool = True
    profile: str | None = None
    verbose: bool = False
    client: str = ""  # the editor's name
    shows_output: bool = False  # of runs, and starts debuggers, by itself

    @classmethod
    def of(cls, params: types.InitializeParams, profile: str | None) -> ClientOptions:
        info, given = params.client_info, params.initialization_options
        options: dict[str, Any] = _plain(given) if given is not None else {}
        return cls(
            is_cli=info is not None and info.name == CLI_NAME,
            auto_connect=options.get("autoConnect", True) is not False,
            profile=options.get("profile") or profile,
            verbose=options.get("verbose") is True,
            client=info.name if info is not None else "",
            shows_output=options.get("showsOutput") is True,
        )


class Refused(JsonRpcException):
    """An answer that says no. Ours, so that the log can leave it out."""


def _is_news(record: logging.LogRecord) -> bool:
    """pygls logs every refusal with a traceback; the client has been told already."""
    return not (record.exc_info and isinstance(record.exc_info[1], Refused))


logging.getLogger("pygls.protocol.json_rpc").addFilter(_is_news)


class _Futures(dict[int | str, Any]):
    """pygls cancels what is in it while the callbacks of that remove entries."""

    def items(self) -> Any:
        return tuple(super().items())


class DevsyncProtocol(LanguageServerProtocol):
    """pygls' protocol, made fit for a daemon."""

    def __init__(self, server: LanguageServer, converter: Any) -> None:
        super().__init__(server, converter)
        self._request_futures = _Futures()

    def handle_message(self, message: RPCMessage) -> None:
        super().handle_message(message)
        # pygls keeps a finished future for every notification it has handled.
        if len(self._request_futures) > 64:
            futures = self._request_futures
            for key in [key for key, future in futures.items() if future.done()]:
                futures.pop(key, None)

    def structure_message(self, data: dict[str, Any]) -> Any:
        try:
            return super().structure_message(data)
        except JsonRpcException as error:
            if "method" in data and "id" in data:  # pygls would leave it unanswered
                text = f"{data['method']}: its parameters are not what LSP says."
                refused = Refused(text, JsonRpcInvalidParams.CODE)
                self._send_response(data["id"], error=refused.to_response_error())
            raise error

    def cancel_requests(self) -> None:
        """Our questions to a client that has gone will not be answered."""
        for future in tuple(self._request_futures.values()):
            future.cancel()


class DevsyncServer(LanguageServer):
    """The server's side of one client."""

    protocol: DevsyncProtocol

    def __init__(self, peer: Peer, hub: Hub) -> None:
        super().__init__(
            "colab-devsync",
            __version__,
            protocol_cls=DevsyncProtocol,
            converter_factory=_converter,
        )
        self.hub = hub
        self.loop = hub.loop
        self.peer = peer
        self.options = ClientOptions(profile=peer.profile)
        self.jobs = Jobs(self)
        self.folders = Folders(self)
        self.processes = Processes(self)
        self.runs = Runs(self)
        self.diagnostics = Diagnostics(self)
        self.modules = ModuleHints(self)
        self.shown_runs: dict[str, dict[str, str]] = {}
        """Whose output is logged, too: what each stream has of an unfinished line."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False
        self.protocol.set_writer(peer.writer)

    @property
    def closed(self) -> bool:
        return self._closed

    def tell(self, method: str, params: Any) -> None:
        """A notification; dropped when the client has gone."""
        if self._closed:
            return
        self.protocol.notify(method, params)
        if self.peer.writer.transport.get_write_buffer_size() > _SLOW_READER_BYTES:
            _log.error("a client does not read what we send; disconnecting it")
            self.peer.writer.transport.abort()

    def complain(self, error: ErrorBody) -> None:
        """An error in a window: what failed, and the next step."""
        text = " ".join(filter(None, (error["message"], error.get("hint"))))
        params = types.ShowMessageParams(type=types.MessageType.Error, message=text)
        self.tell(types.WINDOW_SHOW_MESSAGE, params)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task that is kept alive, and cancelled when the client leaves."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    async def close(self) -> None:
        """The client has left. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self.protocol.cancel_requests()
        self.hub.leave(self.folders)
        self.runs.close()
        await self.jobs.cancel_all()
        for task in tuple(self._tasks):
            task.cancel()

    def report_server_error(self, error: Exception, source: Any) -> None:
        # pygls would pop up a window; expected failures reach the client as answers.
        if not isinstance(error, JsonRpcException):
            _log.error("%s: %s", getattr(source, "__name__", source), error)

    def _reap(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a task failed", exc_info=error)


def _plain(value: Any) -> dict[str, Any]:
    """initializationOptions as a dict, whatever pygls made of it."""
    if isinstance(value, dict):
        return value
    if hasattr(value, "_asdict"):
        plain: dict[str, Any] = value._asdict()
        return plain
    return {}


def _converter() -> Any:
    """Messages that LSP does not know keep their parameters as plain JSON; pygls
    would turn them into named tuples and rename keys."""
    converter = converters.get_converter()
    for kind in (JsonRPCRequestMessage, JsonRPCResponseMessage, JsonRPCNotification):
        names = {field.name for field in attrs.fields(kind)}
        converter.register_structure_hook(kind, _keep_plain(names))
    return converter


def _keep_plain(names: set[str]) -> Any:
    def hook(message: dict[str, Any], kind: type[Any]) -> Any:
        known = {key: value for key, value in message.items() if key in names}
        missing = dict.fromkeys(names - known.keys())
        return kind(**known, **missing)

    return hook
