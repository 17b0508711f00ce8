"""Large transfers survive: paramiko's re-keying dead-lock does not happen to us."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from colab_devsync.link.channel import SshChannel
from colab_devsync.link.keys import identities
from colab_devsync.link.packets import QuickPacketizer
from colab_devsync.link.ssh import Endpoint, SshConnection
from colab_devsync.link.transport import ClientTransport
from colab_devsync.link.wire import dial
from tests.support.remotes import Remote
from tests.support.streams import receive

MB = 1_000_000


class EagerPacketizer(QuickPacketizer):
    """New keys after each megabyte: a day's transfers in a second."""

    REKEY_BYTES = MB


def eager_connection(remote: Remote) -> tuple[SshConnection, ClientTransport]:
    login = remote.login
    transport = ClientTransport(dial(login.host, login.port, 30), EagerPacketizer)
    deadline = time.monotonic() + 30
    transport.handshake(deadline)
    with identities(str(login.identity_file), Path.home()) as (identity,):
        assert transport.authenticate(login.user, identity.key, deadline)
    endpoint = Endpoint(login.user, login.host, login.port)
    return SshConnection(transport, endpoint, None), transport


def count(stream: SshChannel) -> int:
    total = 0
    while data := stream.read(1 << 20):
        total += len(data)
    stream.close()
    return total


def test_our_transports_rarely_ask_for_new_keys() -> None:
    assert QuickPacketizer.REKEY_BYTES >= 2**35
    assert QuickPacketizer.REKEY_BYTES <= 2**36  # GCM's limit for one key
    assert QuickPacketizer.REKEY_BYTES_OVERFLOW_MAX >= 16 * 2**26  # our windows


def test_channels_that_close_during_many_key_exchanges(remote: Remote) -> None:
    """The trap: the server closes a channel while keys are exchanged."""
    connection, transport = eager_connection(remote)
    first_key = transport.H

    def download(number: int) -> int:
        return count(connection.exec(f"head -c {2 * MB + number} /dev/zero"))

    with ThreadPoolExecutor(4) as pool:
        sizes = list(pool.map(download, range(40)))
    assert sizes == [2 * MB + number for number in range(40)]
    assert first_key != transport.H, "no key exchange took place"
    assert connection.is_alive()
    connection.close()


def test_uploads_during_many_key_exchanges(remote: Remote) -> None:
    connection, transport = eager_connection(remote)
    first_key = transport.H

    def upload(number: int) -> bytes:
        program = connection.exec(f"head -c {3 * MB} | wc -c")
        program.write(bytes(3 * MB))
        answer = receive(program, 8)
        program.close()
        return answer

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(upload, range(12))) == {b"3000000\n"}
    assert first_key != transport.H, "no key exchange took place"
    connection.close()


@pytest.mark.timeout(300)
def test_1300_mb_and_closing_channels_on_one_connection(remote: Remote) -> None:
    """With paramiko's own limit keys would be exchanged twice here."""
    connection = remote.connect()
    sizes = [430 * MB, 430 * MB, 440 * MB]
    for size in sizes:
        stream = connection.exec(f"head -c {size} /dev/zero")
        assert isinstance(stream, SshChannel)
        assert count(stream) == size
    assert receive(connection.exec("echo alive"), 6) == b"alive\n"
