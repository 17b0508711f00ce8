"""Starts the agent over one exec channel: send it, hear its magic bytes, shake hands.

Nothing is installed on the VM. Sources and handshake leave in one flight, so a warm
connection needs channel + exec + one more round trip. Every way to fail has its own
error that says what to do.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import re
import shlex
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

from .. import agent
from ..agent import wire
from ..core.events import VmInfo
from ..errors import (
    AgentCrashed,
    DevsyncError,
    LinkLost,
    NoisyShell,
    NoPython,
    ProtocolMismatch,
    PythonTooOld,
    RemoteRefused,
)
from ..link.base import Connection, ExecStream
from .client import AgentClient, Reply
from .lean import lean

_MAX_NOISE = 64 << 10
_QUOTED = 500
_STATUS_S = 2.0  # for an exit status to follow the end of the output
_TOO_OLD = 98
FLOOR = "3.8"

Part = Literal["start", "pushes", "pulls"]
# Modules of the agent that most connections never need; see `sources_of`.
LATER: Mapping[Part, frozenset[str]] = {
    "pushes": frozenset({"archives", "arrivals", "deposit", "pushes", "unpack"}),
    "pulls": frozenset(
        {"gmac", "inotify", "pulling", "pulling_folder", "pulling_reads", "writers"}
    ),
}
# Programs of their own: engine/programs/launcher.py sends them.
_APART = frozenset({"board", "debugger", "letting_in", "modules", "sparing"})

_VERSION = re.compile(r"Python \d+\.\d+")
_OLD_OPTION = re.compile(r"unknown option:? -I", re.IGNORECASE)
_MISSING = re.compile(r"(Import|ModuleNotFound)Error: .*")

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
    sshd: tuple[str, int] | None  # where the VM's own SSH server took our connection


@functools.cache
def sources_of(part: Part) -> dict[str, str]:
    """The agent's modules as they travel: those it starts with, or some that follow
    when they are needed."""
    all_later = frozenset[str]().union(*LATER.values())

    def belongs(name: str) -> bool:
        if part in LATER:
            return name in LATER[part]
        return name not in all_later | _APART

    return {
        name: lean(path.read_text(encoding="utf-8"))
        for path in resources.files(agent).iterdir()
        if path.name.endswith(".py") and belongs(name := path.name.removesuffix(".py"))
    }


@functools.cache
def payload() -> bytes:
    """The agent's sources as they travel: length, then zlib."""
    sources = dict(sources_of("start"))
    # `from __future__` would have to come first in what is executed.
    assemble = sources.pop("assemble").replace("from __future__ import annotations", "")
    program = f"SOURCES={sources!r}\n{assemble}"
    packed = zlib.compress(program.encode(), 9)
    return b"%010d" % len(packed) + packed


def shell_name(python: str) -> str:
    """`python` as a word of a shell command; a leading ~/ stays the home folder."""
    at_home = python.startswith("~/")
    return "~/" + shlex.quote(python[2:]) if at_home else shlex.quote(python)


def command(python: str) -> str:
    """The shell command; works in sh, bash, zsh, fish and csh."""
    return f"exec {shell_name(python)} -I -S -c 'exec({json.dumps(_STAGE)})'"


def start_agent(
    connection: Connection, *, python: str, hello: dict[str, Any], timeout_s: float
) -> tuple[AgentClient, Hello]:
    """Starts an agent and shakes hands. AgentError, LinkLost, Busy."""
    deadline = time.monotonic() + timeout_s
    stream = connection.exec(command(python))
    client = AgentClient(stream)
    greeting: Future[Reply] = Future()
    ask = {"op": "hello", "version": wire.VERSION, **hello}
    first = payload() + client.head(ask, 0, greeting.set_result)
    try:
        with _closed_after(stream, timeout_s):
            _await_magic(stream, first, client.reader, python, deadline)
            client.start()
            reply = greeting.result()
        if reply.error is not None and time.monotonic() >= deadline:
            raise LinkLost(f"The agent did not shake hands in {timeout_s:.0f} s.")
        return client, _understand(reply, hello["root"])
    except BaseException:
        client.close()
        raise


@contextlib.contextmanager
def _closed_after(stream: ExecStream, timeout_s: float) -> Iterator[None]:
    """Closes the stream, which wakes whoever reads it, unless the block ends first."""
    over = threading.Event()

    def watch() -> None:
        if not over.wait(timeout_s):
            stream.close()

    threading.Thread(target=watch, name="devsync-bootstrap", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _await_magic(
    stream: ExecStream,
    first: bytes,
    reader: io.BufferedReader[Any],
    python: str,
    deadline: float,
) -> None:
    """Sends the agent and waits for its first sign of life."""
    lost = LinkLost("The connection ended before the agent had started.")
    noise: bytes | None = b""
    try:
        with contextlib.suppress(LinkLost):  # what it printed before says more
            stream.write(first)
        noise = _skip_to_magic(reader)
    except LinkLost as exc:
        lost = exc
    if noise is not None:
        raise classify(_ending(stream, noise, deadline), python) or lost


def _skip_to_magic(reader: io.BufferedReader[Any]) -> bytes | None:
    """Reads up to the magic bytes. None if they came, else all that came instead."""
    seen = bytearray()
    while len(seen) < _MAX_NOISE:
        byte = reader.read(1)
        if not byte:
            break
        seen += byte
        if seen.endswith(wire.MAGIC):
            return None
    return bytes(seen)


@dataclass(frozen=True)
class Ending:
    """How a start without an agent ended."""

    status: int | None  # None: it runs still, or the server did not tell
    said: str  # on stderr
    printed: str  # on stdout
    late: bool


def _ending(stream: ExecStream, noise: bytes, deadline: float) -> Ending:
    late = time.monotonic() >= deadline
    gave_up = late or len(noise) >= _MAX_NOISE
    return Ending(
        status=None if gave_up else stream.exit_status(_STATUS_S),
        said=stream.stderr_tail().decode("utf-8", "replace").strip(),
        printed=noise.decode("utf-8", "replace").strip(),
        late=late,
    )


def classify(ending: Ending, python: str) -> DevsyncError | None:
    """Why there is no agent. None if the connection itself died."""
    said, status = ending.said, ending.status
    if status in (126, 127):
        return NoPython(
            f"Cannot start the agent: the VM has no usable command {python!r} "
            f"({_line(said, python)}).",
            "Install Python there, or set `python` in [remote] to its path.",
        )
    if status == _TOO_OLD or _OLD_OPTION.search(said):
        version = _VERSION.findall(said)
        found = version[-1] if version and status == _TOO_OLD else "older than 3.4"
        return PythonTooOld(
            f"Cannot start the agent: {python!r} on the VM is {found}; "
            f"the agent needs Python {FLOOR} or newer.",
            "Set `python` in [remote] to a newer one, for example /usr/bin/python3.11.",
        )
    if missing := _MISSING.search(said):
        return NoPython(
            f"Cannot start the agent: {python!r} on the VM is incomplete "
            f"({missing.group(0)}).",
            "Set `python` in [remote] to a Python with its whole standard library.",
        )
    return _of_shell(ending)


def _of_shell(ending: Ending) -> DevsyncError | None:
    said, printed = ending.said, ending.printed
    look = "Look at ~/.bashrc and ~/.profile there, or at a forced command of sshd."
    if printed:
        return NoisyShell(
            "The login shell on the VM printed something and did not start the agent: "
            f"{printed[:_QUOTED]!r}",
            look,
        )
    if ending.late:
        return LinkLost(
            "The VM did not start the agent in time.", "If it stays so: " + look
        )
    if ending.status is None and not said:
        return None
    return AgentCrashed(
        "The agent ended while it started "
        f"(exit status {ending.status}): {said[-2000:] or 'no reason given'}",
        "A killed process often means that the VM is out of memory.",
    )


def _line(said: str, about: str) -> str:
    """The line of `said` that tells about it, or the last one."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if about in line]
    return (telling or lines or ["no reason given"])[-1][:_QUOTED]


def _understand(reply: Reply, root: str) -> Hello:
    try:
        return _as_hello(reply.meta())
    except RemoteRefused as exc:
        raise RemoteRefused(
            f"Cannot use {root} on the VM: {exc.message}.",
            "Set `root` in [remote] to a folder that can be written, or make room.",
        ) from exc
    except (KeyError, TypeError) as exc:
        raise ProtocolMismatch(
            f"The agent's greeting is not understood: {exc!r}."
        ) from exc


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
        sshd=(meta["sshd"][0], int(meta["sshd"][1])) if meta["sshd"] else None,
    )
