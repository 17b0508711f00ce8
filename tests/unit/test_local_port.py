"""Which local port a forward gets."""

from __future__ import annotations

import socket

import pytest

from colab_devsync.engine.ports.local_port import HOST, is_taken, listen
from tests.support.ports import free_port


def test_the_wished_port_if_it_is_free() -> None:
    port = free_port()
    with listen(port) as mine:
        assert mine.getsockname() == (HOST, port)
    with listen(port) as again:
        assert again.getsockname() == (HOST, port)


def test_the_next_free_one_if_it_is_taken() -> None:
    with listen(0) as first:
        port = first.getsockname()[1]
        with listen(port) as second:
            assert port < second.getsockname()[1] <= port + 100


def test_a_port_that_counts_as_taken() -> None:
    port = free_port()
    with listen(port, avoid=port) as other:
        assert other.getsockname()[1] > port


def test_a_port_somebody_has_on_all_addresses_is_taken() -> None:
    with socket.create_server(("0.0.0.0", 0)) as other:
        port = other.getsockname()[1]
        with listen(port) as mine:
            assert mine.getsockname()[1] != port


def test_nobody_can_share_it() -> None:
    with listen(0) as mine, socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError):
            thief.bind(mine.getsockname())


def test_is_taken() -> None:
    port = free_port()
    with listen(port):
        assert is_taken(port)
    assert not is_taken(port)
