"""A stream that is open before anybody wants one."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from colab_devsync.engine.traffic.spare import Spare
from colab_devsync.link.base import Stream
from tests.support.remotes import Login, Remote
from tests.support.run_output import until
from tests.support.sshd import Sshd

WAIT_S = 30


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(WAIT_S)
        yield server


def take(spare: Spare) -> Stream:
    taken: list[Stream] = []

    def look() -> bool:
        stream = spare.take()
        taken.extend([stream] if stream else [])
        return stream is not None

    until(look, "a spare stream")
    return taken[0]


def test_it_is_there_and_so_is_the_next(
    remote: Remote, listener: socket.socket
) -> None:
    connection, port = remote.connect(), listener.getsockname()[1]
    spare = Spare(lambda: connection.connect_tcp("127.0.0.1", port))
    spare.prepare()
    for word in (b"one", b"two"):
        stream = take(spare)
        peer, _ = listener.accept()
        with peer:
            stream.write(word)
            assert peer.recv(9) == word
        stream.close()
    spare.close()


def test_one_that_the_server_has_closed_is_not_given_out(
    remote: Remote, listener: socket.socket
) -> None:
    connection, port = remote.connect(), listener.getsockname()[1]
    opened: list[Stream] = []

    def open_one() -> Stream:
        opened.append(connection.connect_tcp("127.0.0.1", port))
        return opened[-1]

    spare = Spare(open_one)
    spare.prepare()
    first, _ = listener.accept()
    until(lambda: opened, "the first is open")
    first.close()
    until(lambda: not opened[0].is_open(), "its end is known")
    stream = take(spare)
    assert stream is not opened[0]
    second, _ = listener.accept()
    second.close()
    spare.close()


def test_a_server_without_forwards_is_asked_once(
    tmp_path: Path, make_sshd: Callable[..., Sshd]
) -> None:
    sshd = make_sshd(forwarding=False)
    login = Login(sshd.port, sshd.user, sshd.identity_file, sshd.fingerprint)
    connection = Remote("sshd", login, tmp_path / "vm", tmp_path / "state").connect()
    asked: list[int] = []

    def open_one() -> Stream:
        asked.append(9)
        return connection.connect_tcp("127.0.0.1", 9)

    spare = Spare(open_one)
    spare.prepare()
    until(lambda: asked and not spare.is_opening, "it was refused")
    assert spare.take() is None
    assert not spare.is_opening
    assert asked == [9]
