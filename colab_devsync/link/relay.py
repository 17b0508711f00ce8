"""Provider `relay`: the VM's SSH server behind your own one, without a public port.

One SSH connection goes to the relay, a channel of it to the port where the relay
listens for the VM, and a second SSH connection, end to end with the VM, through that
channel. The relay sees neither keys nor contents of the second.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..core.events import Ask
from ..errors import (
    AuthFailed,
    ConnectFailed,
    ForwardRefused,
    LinkError,
    LinkLost,
    VmAbsent,
)
from .base import Connection
from .channel import Refusal, SshChannel
from .hostkeys import Trust
from .keys import Identity, identities
from .ssh import PROHIBITED, Endpoint, SshConnection, forward_to, open_connection
from .wire import dial

_READ_AHEAD = 256 * 1024


class RelayLink:
    """Implements `Link` of link/base.py. `vm` is the VM as the relay sees it."""

    def __init__(
        self,
        relay: Endpoint,
        relay_trust: Trust,
        vm: Endpoint,
        vm_trust: Trust,
        *,
        identity_file: str | None,
    ) -> None:
        self._relay = relay
        self._relay_trust = relay_trust
        self._vm = vm
        self._vm_trust = vm_trust
        self._identity_file = identity_file

    @property
    def label(self) -> str:
        return self._vm.label

    def connect(self, ask: Ask, timeout_s: float) -> Connection:
        """Each of the two connections may take `timeout_s`. VmAbsent: the relay is
        fine, but the VM is not there. ForwardRefused: the relay forbids the way."""
        with identities(self._identity_file, Path.home()) as keys:
            wire = self._wire(keys, ask, timeout_s)
            return open_connection(
                wire, self._vm, self._vm_trust, keys, ask=ask, timeout_s=timeout_s
            )

    def place(self, path: str) -> str:
        return path

    def close(self) -> None:
        """Nothing was started."""

    def _wire(
        self, keys: Sequence[Identity], ask: Ask, timeout_s: float
    ) -> ChannelWire:
        relay, vm = self._relay, self._vm
        with _errors_of(relay):
            outer = open_connection(
                dial(relay.host, relay.port, timeout_s),
                relay,
                self._relay_trust,
                keys,
                ask=ask,
                timeout_s=timeout_s,
                early=forward_to(vm.host, vm.port),
            )
        try:
            channel = outer.tunnel(vm.host, vm.port, timeout_s)
        except Refusal as refusal:
            outer.close()
            raise self._refused(refusal) from refusal
        except (LinkLost, TimeoutError) as error:
            outer.close()
            raise ConnectFailed(
                f"the relay {relay.machine} let us in, but then went silent",
                "check that server and your network, then connect again",
            ) from error
        return ChannelWire(outer, channel)

    def _refused(self, refusal: Refusal) -> LinkError:
        relay, port = self._relay, self._vm.port
        if refusal.code == PROHIBITED:
            return ForwardRefused(
                f"the relay {relay.label} does not let this key reach "
                f"{self._vm.host}:{port} ({refusal.reason})",
                f'its authorized_keys needs `permitopen="localhost:{port}"` for your '
                "key, and its sshd_config `AllowTcpForwarding yes` (or `local`) for "
                f"{relay.user}",
            )
        return VmAbsent(
            f"the relay {relay.machine} is reached, but no VM is connected to its "
            f"port {port} ({refusal.reason or 'nothing listens there'})",
            "run the notebook on the VM (`colab-devsync notebook` writes it), and "
            "check that it names the same relay and port",
        )


@contextlib.contextmanager
def _errors_of(relay: Endpoint) -> Iterator[None]:
    """Says of errors on the first part of the way that it is the first."""
    try:
        yield
    except AuthFailed as error:
        raise AuthFailed(
            f"the relay refused: {error.message}",
            f"add your public key to ~/.ssh/authorized_keys of {relay.user} on the "
            "relay, or set `relay` and `identity_file` in [link]",
        ) from error
    except ConnectFailed as error:
        raise ConnectFailed(
            f"the relay is not reached: {error.message}",
            "check `relay` in [link], that this server runs, and your network; the "
            "VM has no part in it",
        ) from error


class ChannelWire:
    """A `Wire` made of a channel of another connection, which it owns."""

    def __init__(self, outer: SshConnection, channel: SshChannel) -> None:
        self._outer = outer
        self._channel = channel
        self._ahead = b""
        self._at = 0

    def recv(self, size: int) -> bytes:
        """Up to `size` bytes; b"" at the end, also at a sudden one: what the inner
        connection makes of it is the same."""
        if self._at == len(self._ahead):
            try:
                self._ahead = self._channel.read(max(size, _READ_AHEAD))
            except LinkLost:
                return b""
            self._at = 0
            if len(self._ahead) <= size:
                data, self._ahead = self._ahead, b""
                return data
        data = self._ahead[self._at : self._at + size]
        self._at += len(data)
        return data

    def send(self, data: bytes | memoryview) -> int:
        try:
            self._channel.write(data)
        except LinkLost as error:
            raise BrokenPipeError(str(error)) from error
        return len(data)

    def close(self) -> None:
        # not the channel: to say good-bye could block, and the outer end says it all
        self._outer.close()
