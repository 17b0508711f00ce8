"""Two networks that share only a relay: neither laptop nor VM reaches the other.

    laptop (the tests' own network) --veth-- relay (namespace) --veth-- vm (namespace)

The relay does not route. Needs root and iproute2 on Linux. Programs are started in a
namespace with a prefix: `[*world.in_vm, "sshd", …]`; their pids are ordinary ones.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address

import pytest

_FIRST = IPv4Address("198.18.0.0")  # 198.18.0.0/15: for tests of networks, RFC 2544
_WORLDS = 16384


@dataclass(frozen=True)
class World:
    """Addresses, and the prefixes that put a program where it belongs."""

    relay_for_laptop: str
    relay_for_vm: str
    laptop: str  # as the relay sees it; the VM does not
    vm: str  # as the relay sees it; the laptop does not
    in_relay: tuple[str, ...]
    in_vm: tuple[str, ...]


class TwoNetworks:
    """A context: makes the namespaces, removes them at the end. Skips where it may not
    (a failure in CI)."""

    def __init__(self) -> None:
        _require()
        self._stack = ExitStack()

    def __enter__(self) -> World:
        # Pids are unique on the machine, so that several test runs do not meet.
        number = os.getpid() % _WORLDS
        outer, relay_out, relay_in, vm = (
            str(_FIRST + number * 8 + offset) for offset in (1, 2, 5, 6)
        )
        names = (f"devsync-r{number}", f"devsync-v{number}")
        for name in names:
            _ip("netns", "add", name)
            self._stack.callback(_ip, "netns", "delete", name)
            _ip("-n", name, "link", "set", "lo", "up")
        ends = [f"dv{number}{letter}" for letter in "abcd"]
        _ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        _ip("link", "set", ends[1], "netns", names[0])
        _ip("link", "add", ends[2], "type", "veth", "peer", "name", ends[3])
        _ip("link", "set", ends[2], "netns", names[0])
        _ip("link", "set", ends[3], "netns", names[1])
        _up("", ends[0], outer)
        _up(names[0], ends[1], relay_out)
        _up(names[0], ends[2], relay_in)
        _up(names[1], ends[3], vm)
        # Not even by way of a gateway that answers for everybody.
        inner = f"{_FIRST + number * 8 + 4}/30"
        _ip("route", "add", "unreachable", inner)
        self._stack.callback(_ip, "route", "delete", "unreachable", inner)
        enter = [("ip", "netns", "exec", name) for name in names]
        return World(relay_out, relay_in, outer, vm, enter[0], enter[1])

    def __exit__(self, *exc: object) -> None:
        self._stack.close()  # the pairs go with their namespaces


def _up(name: str, interface: str, address: str) -> None:
    inside = ("-n", name) if name else ()
    _ip(*inside, "address", "add", f"{address}/30", "dev", interface)
    _ip(*inside, "link", "set", interface, "up")


def _ip(*arguments: str) -> None:
    path = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin:/sbin"
    env = {**os.environ, "PATH": path}
    subprocess.run(["ip", *arguments], check=True, capture_output=True, env=env)


def _require() -> None:
    path = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin:/sbin"
    if sys.platform == "linux" and os.geteuid() == 0 and shutil.which("ip", path=path):
        return
    reason = "needs Linux, root and the program ip (package iproute2)"
    if os.environ.get("CI") == "true" and sys.platform == "linux":
        pytest.fail(reason)
    pytest.skip(reason)
