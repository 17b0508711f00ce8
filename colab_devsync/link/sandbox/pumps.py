"""Threads that move bytes between an SSH channel and a socket or a pipe."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:  # the tunnel process needs only `spawn`, and starts faster without
    import paramiko

CHUNK = 128 * 1024


def spawn(role: str, target: Callable[..., None], *args: Any) -> threading.Thread:
    """A daemon thread `devsync-sandbox-<role>`."""
    thread = threading.Thread(
        target=target, args=args, name=f"devsync-sandbox-{role}", daemon=True
    )
    thread.start()
    return thread


def splice(channel: paramiko.Channel, sock: socket.socket) -> None:
    """Joins both until both directions have ended. Returns at once."""
    spawn("forward", _run_splice, channel, sock)


def _run_splice(channel: paramiko.Channel, sock: socket.socket) -> None:
    up = spawn("forward-up", _to_socket, channel, sock)
    try:
        while data := sock.recv(CHUNK):
            channel.sendall(data)
        channel.shutdown_write()
        up.join()
    except OSError:
        pass  # one side is gone; closing tells the other
    finally:
        channel.close()
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()


def _to_socket(channel: paramiko.Channel, sock: socket.socket) -> None:
    try:
        while data := channel.recv(CHUNK):
            sock.sendall(data)
        if channel.closed:  # not only the end of data: the client has gone
            sock.shutdown(socket.SHUT_RDWR)
        else:
            sock.shutdown(socket.SHUT_WR)
    except OSError:
        channel.close()


def to_pipe(channel: paramiko.Channel, pipe: IO[bytes]) -> None:
    """Channel → unbuffered pipe, which is closed at the end."""
    try:
        while data := channel.recv(CHUNK):
            view = memoryview(data)
            while view:
                view = view[pipe.write(view) :]
    except OSError:
        pass  # the program does not read any more
    finally:
        with contextlib.suppress(BrokenPipeError):
            pipe.close()


def from_pipe(pipe: IO[bytes], send: Callable[[bytes], None]) -> None:
    """Unbuffered pipe → `send`, to its end; drains it if the client has gone."""
    gone = False
    with pipe:
        while data := pipe.read(CHUNK):
            if gone:
                continue
            try:
                send(data)
            except OSError:
                gone = True
