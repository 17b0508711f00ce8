"""The life of the daemon process: lock, socket, log, signals, loop, end.

Runs on the process's main thread. The lock comes first and the heavy imports last, so
that the loser of two starts ends within milliseconds and the winner's socket accepts
(the kernel queues) while it is still importing.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import logging.handlers
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from ..errors import Busy, DevsyncError
from .address import Address, current_address
from .dial import NotRunning, dial
from .hub import QUESTION_TIMEOUT_S, Hub
from .listener import Listener, listen
from .lock import FileLock
from .server import Handler, Server

_log = logging.getLogger(__name__)

LINGER_S = 600.0
_GARBAGE = 20_000  # new objects between two looks for cycles; a first mirror makes many
_LOCK_WAIT_S = 5.0


def run(load_handler: Callable[[], Handler]) -> int:
    """Serves until idle, signalled or told to stop; returns the exit code."""
    try:
        address = current_address()
        with take_lock(address):
            configure_log(address)
            gc.set_threshold(_GARBAGE, 20, 20)
            listener = listen(address)
            try:
                asyncio.run(_serve(listener, load_handler()))
            finally:
                listener.remove()
        return 0
    except DevsyncError as error:
        sys.stderr.write(f"colab-devsync daemon: {error.message} {error.hint}\n")
        return error.exit_code


def take_lock(address: Address) -> FileLock:
    """Busy when another daemon answers. One that is just ending is waited for."""
    lock = FileLock(address.lock)
    deadline = time.monotonic() + _LOCK_WAIT_S
    while not lock.try_acquire():
        try:
            connection, hello = dial(address, timeout_s=_LOCK_WAIT_S)
        except NotRunning:
            if time.monotonic() > deadline:
                raise _held(address) from None
            time.sleep(0.02)
        else:
            connection.close()
            raise Busy(
                f"Another daemon (process {hello.pid}) already serves this user.",
                "`colab-devsync daemon stop` ends it.",
            )
    return lock


def settings() -> tuple[float, float]:
    """Seconds: how long to linger, and how long a question may stay open."""
    linger = float(os.environ.get("COLAB_DEVSYNC_LINGER_S", LINGER_S))
    question = os.environ.get("COLAB_DEVSYNC_QUESTION_S", QUESTION_TIMEOUT_S)
    return linger, float(question)


def configure_log(address: Address) -> None:
    handler = logging.handlers.RotatingFileHandler(
        address.log, maxBytes=1_000_000, backupCount=3, encoding="utf-8"
    )
    form = "%(asctime)s %(levelname)s %(threadName)s %(name)s: %(message)s"
    handler.setFormatter(logging.Formatter(form))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(os.environ.get("COLAB_DEVSYNC_LOG_LEVEL", "INFO").upper())
    quieten_libraries()


def quieten_libraries() -> None:
    """pygls writes every message it sends at INFO, file contents included."""
    for name in ("pygls", "asyncio", "paramiko", "watchfiles"):
        logging.getLogger(name).setLevel(logging.WARNING)


async def _serve(listener: Listener, handler: Handler) -> None:
    loop = asyncio.get_running_loop()
    linger_s, question_s = settings()
    hub = Hub(loop, linger_s=linger_s, question_timeout_s=question_s)
    _stop_on_signals(loop, hub)
    _log.info("daemon %d at %s", os.getpid(), listener.address.socket)
    await Server(hub, handler).serve(listener)
    _log.info("daemon %d ends", os.getpid())


def _stop_on_signals(loop: asyncio.AbstractEventLoop, hub: Hub) -> None:
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        if sys.platform == "win32":
            signal.signal(number, lambda *_: hub.post(hub.idle.set))
        else:
            loop.add_signal_handler(number, hub.idle.set)


def _held(address: Address) -> Busy:
    return Busy(
        f"Another process holds {address.lock} but no daemon answers.",
        f"End that process (its id is in the file); see {address.log}.",
    )
