"""Starts the agent over one exec channel: send it, hear its magic bytes, shake hands.

Nothing is installed on the VM. Sources and handshake leave in one flight, so a warm
connection needs channel + exec + one more round trip. Every way to fail has its own
error that says what to do.
"""

from __future__ import annotations

import functools
import io
import json
import shlex
import threading
import time
import zlib
from concurrent.futures import Future
from dataclasses import dataclass
from importlib import resources
from typing import Any

from .. import agent
from ..agent import wire
from ..core.events import VmInfo
from ..errors import (
    AgentCrashed,
    AgentError,
    LinkLost,
    NoisyShell,
    NoPython,
    ProtocolMismatch,
    PythonTooOld,
    RemoteRefused,
)
from ..link.base import Connection, ExecStream
from .client import AgentClient, RawStream, Reply

_MAX_NOISE = 64 << 10
_TOO_OLD = 98
FLOOR = "3.8"

# Understood by every Python since 2.6, so that an old one can say that it is old.
_STAGE = """\
import os,sys
if sys.version_info<(3,8):
 sys.stderr.write("Python %d.%d"%sys.version_info[:2]);sys.exit(98)
def r(n):
 b=b""
 while len(b)<n:
  p=os.read(0,n-len(b))
  if not p:sys.exit(99)
  b+=p
 return b
exec(__import__("zlib").decompress(r(int(r(10)))))
"""


@dataclass(frozen=True)
class Hello:
    """What the agent said of itself, its root and what that holds of ours."""

    vm: VmInfo
    fresh: bool  # the root was absent or empty
    torn: bool  # the machine went down before a bulk transfer was on disk
    epoch: int
    digest: str
    count: int
    case_sensitive: bool
    bulk_port: int
    bulk_tokens: tuple[str, ...]


@functools.cache
def payload() -> bytes:
    """The agent's sources as they travel: length, then zlib."""
    sources = {
        path.name.removesuffix(".py"): path.read_text(encoding="utf-8")
        for path in resources.files(agent).iterdir()
        if path.name.endswith(".py")
    }
    # `from __future__` would have to come first in what is executed.
    assemble = sources.pop("assemble").replace("from __future__ import annotations", "")
    program = f"SOURCES={sources!r}\n{assemble}"
    packed = zlib.compress(program.encode(), 9)
    return b"%010d" % len(packed) + packed


def command(python: str) -> str:
    """The shell command; works in sh, bash, zsh, fish and csh."""
    name = "~/" + shlex.quote(python[2:]) if python.startswith("~/") else shlex.quote(python)
    return f"exec {name} -I -S -c 'exec({json.dumps(_STAGE)})'"


def start_agent(
    connection: Connection, *, python: str, hello: dict[str, Any], timeout_s: float
) -> tuple[AgentClient, Hello]:
    """Starts an agent and shakes hands. AgentError, LinkLost, Busy."""
    stream = connection.exec(command(python))
    timer = threading.Timer(timeout_s, stream.close)
    timer.name, timer.daemon = "devsync-bootstrap-timer", True
    timer.start()
    deadline = time.monotonic() + timeout_s
    reader = io.BufferedReader(RawStream(stream), buffer_size=256 << 10)
    client = AgentClient(stream, reader)
    greeting: Future[Reply] = Future()
    try:
        ask = {"op": "hello", "version": wire.VERSION, **hello}
        stream.write(payload() + client.frame(ask, b"", greeting.set_result))
        _await_magic(stream, reader, python, deadline)
        client.start()
        return client, _understand(greeting.result(timeout_s), hello["root"])
    except BaseException:
        client.close()
        raise
    finally:
        timer.cancel()


def _await_magic(
    stream: ExecStream, reader: io.BufferedReader, python: str, deadline: float
) -> None:
    try:
        noise = _skip_to_magic(reader)
    except LinkLost as exc:
        raise _classify(stream, b"", python, deadline) or exc from exc
    if noise is not None:
        raise _classify(stream, noise, python, deadline) or LinkLost(
            "The connection ended before the agent had started."
        )


def _skip_to_magic(reader: io.BufferedReader) -> bytes | None:
    """Reads up to the magic bytes. None if they came, else all that came instead."""
    seen = b""
    while len(seen) < _MAX_NOISE:
        byte = reader.read(1)
        if not byte:
            return seen
        seen += byte
        if seen.endswith(wire.MAGIC):
            return None
    return seen


def _classify(
    stream: ExecStream, noise: bytes, python: str, deadline: float
) -> AgentError | None:
    """Why there is no agent. None if the connection itself died."""
    late = time.monotonic() >= deadline
    status = None if late else stream.exit_status(2.0)
    said = stream.stderr_tail().decode("utf-8", "replace").strip()
    printed = noise.decode("utf-8", "replace").strip()
    if status in (126, 127):
        return NoPython(
            f"Cannot start the agent: the VM has no usable command {python!r} ({said}).",
            "Install Python there, or set `python` in [remote] to its path.",
        )
    if status == _TOO_OLD or "Unknown option: -I" in said or "unknown option -I" in said:
        return PythonTooOld(
            f"Cannot start the agent: {python!r} on the VM is too old ({said}); "
            f"it needs Python {FLOOR} or newer.",
            "Set `python` in [remote] to a newer one, for example /usr/bin/python3.11.",
        )
    if printed or late:
        waited = "in time" if late else "before it ended"
        return NoisyShell(
            "The login shell on the VM did not start the agent " + waited + "; "
            f"it printed: {printed[:500] or '(nothing)'!r}",
            "Look at ~/.bashrc and ~/.profile there, or at a forced command of sshd.",
        )
    if status is None and not said:
        return None
    return AgentCrashed(
        f"The agent ended while it started (exit status {status}): {said[-2000:] or 'no reason'}",
        "A killed process often means that the VM is out of memory.",
    )


def _understand(reply: Reply, root: str) -> Hello:
    try:
        return _as_hello(reply.meta())
    except RemoteRefused as exc:
        raise RemoteRefused(
            f"Cannot use {root} on the VM: {exc.message}.",
            "Set `root` in [remote] to a folder that can be written, or make room there.",
        ) from exc
    except (KeyError, TypeError) as exc:
        raise ProtocolMismatch(f"The agent's greeting is not understood: {exc!r}.") from exc


def _as_hello(meta: dict[str, Any]) -> Hello:
    return Hello(
        vm=VmInfo(
            host=meta["host"],
            user=meta["user"],
            python=meta["python"],
            boot_id=meta["boot_id"],
            marker=meta["marker"],
            root=meta["root"],
        ),
        fresh=meta["fresh"],
        torn=meta["torn"],
        epoch=meta["epoch"],
        digest=meta["digest"],
        count=meta["count"],
        case_sensitive=meta["case_sensitive"],
        bulk_port=meta["bulk"]["port"],
        bulk_tokens=tuple(meta["bulk"]["tokens"]),
    )
