"""The only seam between the synchronous engine and the asyncio loop.

Engine futures are awaited here, blocking calls are moved to daemon threads of ours
(never to a pool: at exit a pool waits for a stuck thread).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_log = logging.getLogger(__name__)

T = TypeVar("T")

_CANCEL_TIMEOUT_S = 3.0


async def settle(future: Future[T], cancel: threading.Event | None = None) -> T:
    """Awaits an engine future. When the awaiting task is cancelled, `cancel` is set
    and the engine gets a moment to stop cleanly."""
    waiter = asyncio.wrap_future(future)
    try:
        return await asyncio.shield(waiter)
    except asyncio.CancelledError:
        if cancel is not None:
            cancel.set()
            await asyncio.wait({waiter}, timeout=_CANCEL_TIMEOUT_S)
        _forget(waiter)
        raise


async def in_thread(call: Callable[[], T], name: str) -> T:
    """Runs a blocking call on a thread of its own, `devsync-<name>`."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - travels to the awaiting task
            future.set_exception(error)

    threading.Thread(target=run, name=f"devsync-{name}", daemon=True).start()
    return await asyncio.shield(asyncio.wrap_future(future))


def post(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """From any thread. Dropped when the loop has ended."""
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        _log.debug("dropped a callback after the end of the loop")


def _forget(waiter: asyncio.Future[T]) -> None:
    # Nobody will look at it any more; asyncio would complain about its exception.
    waiter.add_done_callback(lambda done: done.cancelled() or done.exception())
