"""A program on the VM in the foreground, on a stream of its own.

One thread reads its output; while a callback blocks, the stream's window fills and
the program waits. Any thread may write input or send signals.
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from ..agent import wire
from ..errors import AgentCrashed, DevsyncError, LinkLost, RunError
from ..link.base import Stream
from ..remote.client import RawStream

OnOutput = Callable[[str, bytes], None]
_STREAMS = {1: "stdout", 2: "stderr"}


@dataclass(frozen=True)
class ExecSpec:
    """A command for the VM. `cwd` is relative to the remote project folder."""

    argv: Sequence[str]
    cwd: str = "."
    env: Mapping[str, str] | None = None

    def with_env(self, env: Mapping[str, str]) -> ExecSpec:
        """The same with more variables; its own win."""
        return replace(self, env={**env, **(self.env or {})})


class RemoteProcess:
    """A running program. `exit_code` is 128 + signal number if it was killed."""

    def __init__(self, stream: Stream, on_output: OnOutput) -> None:
        self._stream = stream
        self._on_output = on_output
        self._reader = io.BufferedReader(RawStream(stream), buffer_size=256 << 10)
        self._lock = threading.Lock()
        self.exit_code: Future[int] = Future()

    def start(self, spec: ExecSpec) -> None:
        """Blocks until the program runs. RunError, LinkLost."""
        env = dict(spec.env or {})
        self._send({"op": "exec", "argv": list(spec.argv), "cwd": spec.cwd, "env": env})
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
        self._tell({"op": "input"}, data)

    def close_stdin(self) -> None:
        self._tell({"op": "eof"})

    def signal(self, name: str) -> None:
        """`name` without SIG: "INT", "TERM", "KILL"."""
        self._tell({"op": "signal", "name": name})

    def close(self) -> None:
        """Ends the program's whole group."""
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
            self._stream.close()

    def _pump(self) -> int:
        for frame in iter(lambda: wire.read_frame(self._reader), None):
            if frame.meta["op"] == "output":
                self._on_output(_STREAMS[frame.meta["stream"]], frame.data)
            elif frame.meta["op"] == "exit":
                return int(frame.meta["code"])
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
