"""A synchronous LSP client for the command line.

`devsync-client` reads the socket: it resolves the futures of our requests and queues
everything else. The caller's thread handles notifications and questions while it waits
in `run_until`, so a callback may print, prompt or block; the queue is bounded, so a
blocked callback holds the daemon back instead of filling memory. Any thread may send.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from ..errors import DevsyncError
from . import framing
from .framing import Message

NotificationHandler = Callable[[str, Any], None]
RequestHandler = Callable[[str, Any], Any]

_INBOX = 16
_METHOD_NOT_FOUND = -32601
# Windows delivers ctrl-C to Python code only; a wait without end would defer it.
_POLL_S = 0.2 if sys.platform == "win32" else None


class DaemonGone(DevsyncError):
    """The daemon closed the connection."""


class RemoteFailure(DevsyncError):
    """An error that was raised in the daemon: its class name is `code`."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__(str(body.get("message", "")), str(body.get("hint", "")))
        self.body = body
        self.exit_code = int(body.get("exitCode", 1))
        self.traceback = str(body.get("traceback", ""))

    @property
    def code(self) -> str:
        return str(self.body.get("code", "DevsyncError"))


class Client:
    """One connection. Close it, or use it as a context manager."""

    def __init__(
        self,
        connection: socket.socket,
        *,
        on_notification: NotificationHandler,
        on_request: RequestHandler,
    ) -> None:
        self._connection = connection
        self._stream = connection.makefile("rb")
        self._on_notification = on_notification
        self._on_request = on_request
        self._sending = threading.Lock()
        self._pending: dict[int, Future[Any]] = {}
        self._next_id = 0
        self._gone = False
        self.closed: Future[None] = Future()
        """Fails with DaemonGone when the connection has ended."""
        # Re-entrant, so that a signal handler may wake us; the semaphore bounds it.
        self._inbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(_INBOX)
        threading.Thread(target=self._read, name="devsync-client", daemon=True).start()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hard: whoever reads or sends is woken. Idempotent."""
        with contextlib.suppress(OSError):  # the other side was faster
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    # --- any thread ---------------------------------------------------------------

    def notify(self, method: str, params: Any = None) -> None:
        self._send({"jsonrpc": "2.0", "method": method, "params": params})

    def send_request(self, method: str, params: Any = None) -> Future[Any]:
        """The future fails with RemoteFailure or DaemonGone."""
        future: Future[Any] = Future()
        with self._sending:
            self._next_id += 1
            number = self._next_id
            self._pending[number] = future
        self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        if self._gone:
            self._fail_pending()
        return future

    # --- the owner's thread -------------------------------------------------------

    def request(self, method: str, params: Any = None) -> Any:
        """Sends, handles what arrives meanwhile, and returns the result."""
        return self.run_until(self.send_request(method, params))

    def run_until(
        self, future: Future[Any], *, on_wake: Callable[[], None] | None = None
    ) -> Any:
        """Handles messages until `future` is done; what came before it is handled.

        `on_wake` is called after each message and each `wake`.
        """
        future.add_done_callback(lambda _: self.wake())
        while not future.done():
            with contextlib.suppress(queue.Empty):
                self._take(self._inbox.get(timeout=_POLL_S))
            if on_wake is not None:
                on_wake()
        while not self._inbox.empty():
            self._take(self._inbox.get())
        return future.result()

    def wake(self) -> None:
        """Makes `run_until` look up. Also from a signal handler."""
        self._inbox.put(None)

    def _take(self, message: Message | None) -> None:
        if message is not None:
            try:
                self._handle(message)
            finally:
                self._room.release()

    def _handle(self, message: Message) -> None:
        method, params = str(message["method"]), message.get("params")
        if "id" not in message:
            self._on_notification(method, params)
            return
        answer: Message = {"jsonrpc": "2.0", "id": message["id"]}
        try:
            answer["result"] = self._on_request(method, params)
        except NotImplementedError:
            error = {"code": _METHOD_NOT_FOUND, "message": f"no {method} here"}
            answer["error"] = error
        self._send(answer)

    # --- reader thread ------------------------------------------------------------

    def _read(self) -> None:
        try:
            while (message := framing.read(self._stream)) is not None:
                if "method" in message:
                    self._room.acquire()
                    self._inbox.put(message)
                else:
                    self._resolve(message)
        except (OSError, ValueError, DevsyncError):
            pass  # reported to every waiter as DaemonGone, just below
        finally:
            self._gone = True
            self._fail_pending()
            self.closed.set_exception(DaemonGone("The colab-devsync daemon ended."))

    def _resolve(self, message: Message) -> None:
        future = self._pending.pop(message["id"], None)
        if future is None:
            return
        error = message.get("error")
        if error is None:
            future.set_result(message.get("result"))
            return
        body = error.get("data") if isinstance(error.get("data"), dict) else {}
        future.set_exception(RemoteFailure({"message": error["message"], **body}))

    def _fail_pending(self) -> None:
        error = DaemonGone(
            "The colab-devsync daemon ended in the middle of the work.",
            "Run the command again; `colab-devsync daemon status` names its log.",
        )
        while self._pending:
            _, future = self._pending.popitem()
            future.set_exception(error)

    def _send(self, message: Message) -> None:
        try:
            with self._sending:
                self._connection.sendall(framing.encode(message))
        except OSError:
            self._gone = True
            self._fail_pending()
