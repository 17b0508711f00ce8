"""The client's end of programs that an agent runs in front."""

from __future__ import annotations

import io
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from colab_devsync.agent import wire
from tests.agent.driver import PATIENCE_S, Driven


class Program:
    """The client's end of one `exec`."""

    def __init__(self, agent: Driven, *argv: str, **fields: Any) -> None:
        address = ("127.0.0.1", agent.hello.bulk_port)
        self.socket = socket.create_connection(address, PATIENCE_S)
        self.socket.settimeout(PATIENCE_S)
        self._reader = self.socket.makefile("rb")
        self.socket.sendall(bytes.fromhex(agent.tokens.pop()))
        self.tell("exec", **{"argv": list(argv), **fields})
        self.first = self.next()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exc: object) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        self._reader.close()
        self.socket.close()

    def tell(self, op: str, data: bytes = b"", **fields: Any) -> None:
        self.socket.sendall(wire.encode(0, {"op": op, **fields}, data))

    def next(self) -> wire.Frame:
        """The next one that is not about our input; output is acknowledged."""
        assert isinstance(self._reader, io.BufferedReader)
        while True:
            frame = wire.read_frame(self._reader)
            assert frame is not None
            if frame.meta["op"] == "output":
                self.tell("ack", bytes=len(frame.data))
            if frame.meta["op"] != "taken":
                return frame

    @property
    def pid(self) -> int:
        return int(self.first.meta["pid"])

    def frames(self) -> Iterator[wire.Frame]:
        while True:
            frame = self.next()
            yield frame
            if frame.meta["op"] == "exit":
                return

    def finish(self) -> tuple[int, bytes, bytes]:
        """Exit code, stdout, stderr."""
        streams = {1: bytearray(), 2: bytearray()}
        for frame in self.frames():
            if frame.meta["op"] == "output":
                streams[frame.meta["stream"]] += frame.data
        return frame.meta["code"], bytes(streams[1]), bytes(streams[2])


def shell(agent: Driven, script: str, **fields: Any) -> Program:
    return Program(agent, "sh", "-c", script, **fields)


def ended(pid: int) -> bool:
    """Waits until the process is gone (or a zombie nobody reaps)."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
            if (
                Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
                == "Z"
            ):
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        os.sched_yield()
    return False
