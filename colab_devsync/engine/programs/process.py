"""A program on the VM in the foreground, on a stream of its own.

One thread reads its output and acknowledges what the callback has taken; while that
blocks, the program waits. Any thread may write input, send signals or resize.
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from ...agent import wire
from ...agent.credit import Credit
from ...errors import AgentCrashed, DevsyncError, LinkLost, RunError
from ...link.base import Stream
from ...remote.client import RawStream

OnOutput = Callable[[str, bytes], None]
_STREAMS = {1: "stdout", 2: "stderr"}
_INPUT_CREDIT = 1 << 20  # bytes on their way to a program, or waiting for it


@dataclass(frozen=True)
class TerminalSize:
    rows: int
    columns: int


@dataclass(frozen=True)
class ExecSpec:
    """A command for the VM. `cwd` is relative to the remote project folder."""

    argv: Sequence[str]
    cwd: str = "."
    env: Mapping[str, str] | None = None
    shell: bool = False
    """The user's login shell, instead of `argv`."""
    tty: TerminalSize | None = None
    """A terminal of this size instead of pipes; all output is then "stdout"."""
    term: str = ""
    """The kind of terminal, as in TERM."""

    def with_env(self, env: Mapping[str, str]) -> ExecSpec:
        """The same with more variables; its own win."""
        return replace(self, env={**env, **(self.env or {})})

    def request(self) -> dict[str, Any]:
        """What the agent is asked."""
        asked: dict[str, Any] = {
            "op": "exec",
            "argv": list(self.argv),
            "cwd": self.cwd,
            "env": dict(self.env or {}),
        }
        if self.shell:
            asked["shell"] = True
        if self.tty is not None:
            rows, columns = self.tty.rows, self.tty.columns
            asked["tty"] = {"rows": rows, "cols": columns, "term": self.term}
        return asked


class RemoteProcess:
    """A running program. `exit_code` is 128 + signal number if it was killed."""

    def __init__(self, stream: Stream, on_output: OnOutput) -> None:
        self._stream = stream
        self._on_output = on_output
        self._reader = io.BufferedReader(RawStream(stream), buffer_size=256 << 10)
        self._lock = threading.Lock()
        self._input = Credit(_INPUT_CREDIT)
        self.exit_code: Future[int] = Future()

    def start(self, spec: ExecSpec) -> None:
        """Blocks until the program runs. RunError, LinkLost."""
        self._send(spec.request())
        try:
            frame = wire.read_frame(self._reader)
        except wire.WireError as exc:
            raise LinkLost(
                f"The link was lost while a program was started: {exc}."
            ) from exc
        if frame is None:
            raise LinkLost("The link was lost while a program was started.")
        if frame.meta["op"] != "started":
            self._stream.close()
            raise RunError(
                f"Cannot start a program on the VM: {frame.meta.get('message')}.",
                "Check the command, and `cwd` and `env` in the configuration.",
            )
        threading.Thread(
            target=self._read, name="devsync-exec-output", daemon=True
        ).start()

    def write_stdin(self, data: bytes) -> None:
        """Blocks while the program does not take what it has; threads take turns."""
        start = 0
        while start < len(data):
            piece = data[start : start + self._input.room()]
            if not piece:
                return
            self._input.sent(len(piece))
            self._tell({"op": "input"}, piece)
            start += len(piece)

    def close_stdin(self) -> None:
        """At a terminal: what ctrl-D does."""
        self._tell({"op": "eof"})

    def signal(self, name: str) -> None:
        """`name` without SIG: "INT", "TERM", "KILL"."""
        self._tell({"op": "signal", "name": name})

    def resize(self, size: TerminalSize) -> None:
        """Of the program's terminal, if it has one."""
        self._tell({"op": "resize", "rows": size.rows, "cols": size.columns})

    def close(self) -> None:
        """Ends the program's whole group."""
        self._input.close()
        self._stream.close()

    def _tell(self, meta: dict[str, Any], data: bytes = b"") -> None:
        """To a program that may have ended: how it did is told by `exit_code`."""
        with contextlib.suppress(LinkLost):
            self._send(meta, data)

    def _send(self, meta: dict[str, Any], data: bytes = b"") -> None:
        with self._lock:
            self._stream.write(wire.encode(0, meta, data))

    def _read(self) -> None:
        try:
            code = self._pump()
        except DevsyncError as exc:
            self.exit_code.set_exception(exc)
        except wire.WireError as exc:
            self.exit_code.set_exception(
                AgentCrashed(f"The program's stream broke: {exc}.")
            )
        else:
            self.exit_code.set_result(code)
        finally:
            self.close()

    def _pump(self) -> int:
        for frame in iter(lambda: wire.read_frame(self._reader), None):
            meta = frame.meta
            if meta["op"] == "output":
                self._on_output(_STREAMS[meta["stream"]], frame.data)
                self._tell({"op": "ack", "bytes": len(frame.data)})
            elif meta["op"] == "taken":
                self._input.give(meta["bytes"])
            elif meta["op"] == "exit":
                return int(meta["code"])
        raise LinkLost("The link was lost; the program on the VM was ended.")


def start_program(
    open_stream: Callable[[], Stream],
    spec: ExecSpec,
    on_output: OnOutput,
    future: Future[RemoteProcess],
) -> None:
    """Starts a program on a thread made for it, since that takes two round trips."""

    def run() -> None:
        try:
            process = RemoteProcess(open_stream(), on_output)
            process.start(spec)
        except DevsyncError as exc:
            future.set_exception(exc)
        else:
            future.set_result(process)

    threading.Thread(target=run, name="devsync-exec-start", daemon=True).start()
