"""A chaos proxy in a process of its own, steered from the test.

`ChaosProxy` starts this file as a program; the program runs the product's shaper and
takes commands (one JSON object per line) on a loopback socket. Each command has been
carried out when its method returns. The program ends when the control socket ends.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Literal

from colab_devsync.link.sandbox.shaper import Shape, Shaper

Which = Literal["up", "down", "both"]


@dataclass(frozen=True)
class Counts:
    """Totals since the start; `up` is towards the server."""

    connections: int
    open: int
    up: int
    down: int


class ChaosProxy:
    """Listens on 127.0.0.1:`port` and forwards to 127.0.0.1:`target_port`."""

    def __init__(
        self, target_port: int, *, rtt_ms: float = 0, bandwidth: float = 0
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(20)
            command = [sys.executable, __file__, str(server.getsockname()[1])]
            self._process = subprocess.Popen([*command, str(target_port)])
            self._control, _ = server.accept()
        self._replies = self._control.makefile("r", encoding="utf-8")
        self.port = int(self._read()["port"])
        self.shape(rtt_ms=rtt_ms, bandwidth=bandwidth)

    def __enter__(self) -> ChaosProxy:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Idempotent. Open connections are reset."""
        self._replies.close()
        self._control.close()
        self._process.wait(30)

    def shape(
        self, *, rtt_ms: float = 0, bandwidth: float = 0, queue_s: float = 1.0
    ) -> None:
        """From now on. `bandwidth` in bytes/s each way; 0 = unlimited. `queue_s`:
        seconds of data the bottleneck's queue holds."""
        self._tell("shape", rtt_ms=rtt_ms, bandwidth=bandwidth, queue_s=queue_s)

    def freeze(self, which: Which = "both") -> None:
        """A black hole: nothing arrives, nothing breaks; new connections hang."""
        self._tell("freeze", which=which)

    def unfreeze(self) -> None:
        """What was under way arrives after all, as TCP would resend it."""
        self._tell("unfreeze")

    def reset_all(self) -> None:
        """RST on all open connections, both sides."""
        self._tell("reset")

    def cut_after(self, direction: Literal["up", "down"], count: int) -> None:
        """Once: all open connections (or, if there is none, the next one) end after
        exactly `count` more bytes have reached the receiver in `direction`."""
        self._tell("cut", direction=direction, count=count)

    def refuse(self, on: bool = True, *, after: int = 0) -> None:
        """New connections are reset at once; `after` so many more."""
        self._tell("refuse", on=on, after=after)

    def counts(self) -> Counts:
        return Counts(**self._tell("counts"))

    def _tell(self, command: str, **options: object) -> dict[str, Any]:
        line = json.dumps({"command": command, **options}) + "\n"
        self._control.sendall(line.encode())
        return self._read()

    def _read(self) -> dict[str, Any]:
        line = self._replies.readline()
        if not line:
            raise RuntimeError("the chaos proxy ended; see its stderr")
        reply: dict[str, Any] = json.loads(line)
        return reply


# --- the program ------------------------------------------------------------------


class _Door(Shaper):
    """Closes by itself after some more connections."""

    last: int | None = None  # the number of the last one that is let in

    def step(
        self, also: list[socket.socket], limit_s: float | None
    ) -> list[socket.socket]:
        found = super().step(also, limit_s)
        if self.last is not None and self.accepted >= self.last:
            self.refusing, self.last = True, None
        return found


def _obey(shaper: _Door, order: dict[str, Any]) -> dict[str, Any]:
    command = order.pop("command")
    if command == "shape":
        rtt_s = order["rtt_ms"] / 1000
        shaper.shape = Shape(rtt_s, order["bandwidth"], order["queue_s"])
    elif command == "freeze":
        which = order["which"]
        shaper.frozen |= {"up", "down"} if which == "both" else {which}
    elif command == "unfreeze":
        shaper.frozen.clear()
    elif command == "reset":
        shaper.reset_all()
    elif command == "cut":
        shaper.cut_after(order["direction"], order["count"])
    elif command == "refuse":
        shaper.refusing = order["on"] and not order["after"]
        shaper.last = shaper.accepted + order["after"] if order["after"] else None
    elif command == "counts":
        opened = len(shaper.tunnels)
        return {"connections": shaper.accepted, "open": opened, **shaper.bytes}
    else:
        raise ValueError(f"unknown command {command!r}")
    return {}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("control_port", type=int)
    parser.add_argument("target_port", type=int)
    options = parser.parse_args()
    control = socket.create_connection(("127.0.0.1", options.control_port))
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    shaper = _Door(listener, ("127.0.0.1", options.target_port), Shape())
    control.sendall(json.dumps({"port": listener.getsockname()[1]}).encode() + b"\n")
    pending = b""
    while True:
        if not shaper.step([control], None):
            continue
        data = control.recv(65536)
        if not data:
            break
        *orders, pending = (pending + data).split(b"\n")
        for order in orders:
            reply = _obey(shaper, json.loads(order))
            control.sendall(json.dumps(reply).encode() + b"\n")
    shaper.reset_all()


if __name__ == "__main__":
    main()
