"""Ways in to the measured machine besides the direct one, each behind a delay proxy."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.support.colab import FakeColab
from tests.support.proxy import ChaosProxy
from tests.support.relay import Relay

from .world import World


@dataclass(frozen=True)
class Way:
    """`link`: lines for [link]. `proxy`: stands before the laptop."""

    link: str
    proxy: ChaosProxy


@contextmanager
def colab(world: World) -> Iterator[Way]:
    """Colab's endpoint as the tests know it, in front of the same sshd."""
    keys = world.sshd.folder / "authorized_keys"
    shutil.rmtree(world.colab, ignore_errors=True)
    with (
        FakeColab(world.colab, world.sshd.port, keys) as server,
        ChaosProxy(server.port) as proxy,
    ):
        server.add_session("bench", url=f"https://localhost:{proxy.port}")
        yield Way('provider = "colab"\nsession = "bench"', proxy)


@contextmanager
def relay(world: World) -> Iterator[Way]:
    """A relay, and a tunnel to it from the same machine, which costs no time."""
    with ExitStack() as stack:
        relay = stack.enter_context(Relay(world.new("relay")))
        proxy = stack.enter_context(ChaosProxy(relay.sshd.port))
        with (world.sshd.folder / "authorized_keys").open("a") as file:
            file.write(relay.laptop_key.with_suffix(".pub").read_text())
        known = world.home / ".ssh" / "known_hosts"
        known.parent.mkdir(exist_ok=True)
        key = relay.sshd.host_key.with_suffix(".pub").read_text()
        known.write_text(f"[127.0.0.1]:{proxy.port} {key}")
        tunnel = subprocess.Popen(_tunnel(relay, world), stderr=subprocess.PIPE)
        stack.callback(tunnel.communicate)
        stack.callback(tunnel.kill)
        assert tunnel.stderr is not None
        while b"remote forward success" not in (line := tunnel.stderr.readline()):
            if not line:
                raise RuntimeError("the tunnel to the relay does not come up")
        where = f"{relay.sshd.user}@127.0.0.1:{proxy.port}"
        lines = f'provider = "relay"\nrelay = "{where}"\nport = {relay.port}'
        yield Way(f'{lines}\nidentity_file = "{relay.laptop_key}"', proxy)


def _tunnel(relay: Relay, world: World) -> list[str]:
    forward = f"localhost:{relay.port}:localhost:{world.sshd.port}"
    argv = ["ssh", "-F", "none", "-N", "-v", "-R", forward, "-i", str(relay.vm_key)]
    for option in ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"):
        argv += ["-o", option]
    where = f"{relay.sshd.user}@127.0.0.1"
    return [*argv, "-o", "BatchMode=yes", "-p", str(relay.sshd.port), where]
