"""One stream to the agent that carries one run: its start, output, port and end.

Whoever holds it reads it, on one thread; `close` may be called from any.
"""

from __future__ import annotations

import io
import threading
from collections import deque
from dataclasses import replace
from typing import Any

from ...agent import wire
from ...core.runs import RunInfo, RunStream
from ...errors import LinkLost, RunError, UnknownRun
from ...link.base import Stream
from ...remote.client import RawStream

STREAMS: dict[int, RunStream] = {1: "stdout", 2: "stderr"}
_BUFFER = 256 << 10


class RunFeed:
    """`info` is what the agent said of the run last."""

    def __init__(self, stream: Stream, marker: str) -> None:
        """`marker`: of the VM at the other end."""
        self.marker = marker
        self.info: RunInfo | None = None
        self._stream = stream
        self._reader = io.BufferedReader(RawStream(stream), buffer_size=_BUFFER)
        self._is_closed = False
        self._held: deque[wire.Frame] = deque()

    def start(self, request: dict[str, Any]) -> RunInfo | None:
        """Starts a run; None if the VM's files are not those of the request's
        `digest`: nothing was started. RunError, LinkLost."""
        return self._ask(request)

    def attach(self, request: dict[str, Any]) -> None:
        """RunError, UnknownRun, LinkLost."""
        self._ask(request)

    def _ask(self, request: dict[str, Any]) -> RunInfo | None:
        self._stream.write(wire.encode(0, request))
        meta = self._read().meta
        if meta["op"] == "started":
            self.info = info_of(meta["run"])
            return self.info
        if meta["op"] == "stale":
            return None
        message = str(meta.get("message"))
        if meta.get("unknown"):
            raise unknown_run(message)
        raise RunError(
            f"The program was not started: {message}.",
            "What is ignored is not on the VM; see also `python` in [remote], and "
            "`cwd` and `env` in [run].",
        )

    def wait_ready(self) -> RunInfo:
        """Until its port is known, or it is known that none will be: the program has
        ended or its time is over (`message` says so). What it prints is kept."""
        assert self.info is not None
        while True:
            frame = self._read()
            self._held.append(frame)
            op = frame.meta["op"]
            if op == "ready":
                self.info = replace(self.info, port=int(frame.meta["port"]))
            elif op == "unready":
                self.info = replace(self.info, message=str(frame.meta["message"]))
            elif op == "exit":
                self.info = info_of(frame.meta["run"])
            else:
                continue
            return self.info

    def next(self) -> wire.Frame:
        """Blocks. LinkLost when the stream ended before the run's end came."""
        return self._held.popleft() if self._held else self._read()

    def _read(self) -> wire.Frame:
        try:
            frame = wire.read_frame(self._reader)
        except wire.WireError as exc:
            raise LinkLost(f"A run's stream broke: {exc}.") from exc
        if frame is None:
            raise LinkLost("A run's stream ended.")
        return frame

    def ack(self, size: int) -> None:
        """So much output has been taken. LinkLost."""
        self._stream.write(wire.encode(0, {"op": "ack", "bytes": size}))

    def close(self) -> None:
        """Wakes its reader; never blocks, though the wire may be full. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        threading.Thread(
            target=self._stream.close, name="devsync-run-close", daemon=True
        ).start()


def info_of(meta: dict[str, Any]) -> RunInfo:
    """A run as the agent tells it."""
    return RunInfo(
        id=meta["run"],
        kind=meta["kind"],
        argv=tuple(meta["argv"]),
        cwd=meta["cwd"],
        state=meta["state"],
        pid=meta.get("pid"),
        started=meta.get("started") or 0.0,
        ended=meta.get("ended"),
        exit_code=meta.get("code"),
        signal=meta.get("signal"),
        port=meta.get("port"),
        stdout=meta.get("stdout") or 0,
        stderr=meta.get("stderr") or 0,
        message=meta.get("message"),
    )


def unknown_run(message: str) -> UnknownRun:
    """Of the agent's "no run x-1 on the VM"."""
    return UnknownRun(
        f"There is {message}.", "`colab-devsync runs` lists those there are."
    )
