"""Our packets and paramiko's are the same on the wire, however that cuts them."""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from paramiko.message import Message
from paramiko.packet import Packetizer
from paramiko.ssh_exception import SSHException

from colab_devsync.link.packets import ChannelData, Packets, QuickPacketizer

KEY, LAST_IV = bytes(range(16)), b"abcd" + b"\xff" * 8
DATA = b"\x5e"


class Torn:
    """A socket that hands out its bytes in pieces of any size."""

    def __init__(self, sock: socket.socket, seed: int) -> None:
        self._sock, self._dice = sock, random.Random(seed)
        self.send = sock.send

    def recv(self, size: int) -> bytes:
        return self._sock.recv(min(size, self._dice.choice((1, 3, 20, 4096, 1 << 18))))


def keyed(packetizer: Packetizer) -> Packetizer:
    """In both directions with one key; the IV's counter is about to wrap."""
    engine = AESGCM(KEY)
    packetizer.set_outbound_cipher(engine, 16, None, 16, b"", aead=True, iv_out=LAST_IV)
    packetizer.set_inbound_cipher(engine, 16, None, 16, b"", aead=True, iv_in=LAST_IV)
    return packetizer


@pytest.fixture
def wire() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    for one in (here, there):
        one.settimeout(30)
    with here, there:
        yield here, there


def message(kind: bytes, content: bytes) -> Message:
    made = Message()
    made.add_byte(kind)
    made.add_int(7)
    made.add_string(content)
    return made


def payload_of(found: Message | ChannelData) -> bytes:
    assert found.get_int() == 7
    return found.get_binary()


def with_a_small_counter(packetizer: Packetizer) -> Packetizer:
    """paramiko cannot wrap the counter; ours can, see below."""
    packetizer = keyed(packetizer)
    for name in ("_Packetizer__iv_in", "_Packetizer__iv_out"):
        setattr(packetizer, name, bytes(12))
    return packetizer


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", [DATA, b"\x62"])
@pytest.mark.parametrize(
    ("sender", "receiver"),
    [
        (Packetizer, QuickPacketizer),
        (QuickPacketizer, Packetizer),
        (QuickPacketizer, QuickPacketizer),
    ],
)
def test_packets_arrive(
    wire: tuple[socket.socket, socket.socket],
    sender: type[Packetizer],
    receiver: type[Packetizer],
    kind: bytes,
    seed: int,
) -> None:
    out = with_a_small_counter(sender(wire[0]))
    into = with_a_small_counter(receiver(Torn(wire[1], seed)))  # type: ignore[arg-type]
    for size in [*range(40), 32_000, 32_768, 60_001]:
        content = os.urandom(size)
        out.send_message(message(kind, content))
        found_kind, found = into.read_message()
        assert (found_kind, payload_of(found)) == (kind[0], content)
        assert found.seqno == into._Packetizer__sequence_number_in - 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("is_encrypted", [True, False])
@pytest.mark.parametrize("receiver", [Packetizer, QuickPacketizer])
def test_packets_sent_in_one_go_arrive_one_by_one(
    wire: tuple[socket.socket, socket.socket],
    receiver: type[Packetizer],
    is_encrypted: bool,
) -> None:
    out, into = QuickPacketizer(wire[0]), receiver(wire[1])  # type: ignore[arg-type]
    if is_encrypted:
        with_a_small_counter(out)
        with_a_small_counter(into)
    contents = [os.urandom(size) for size in (1, 0, 32_000, 17)]
    head = DATA + struct.pack(">I", 7)
    out.send_message(
        Packets(
            (head, struct.pack(">I", len(one)), memoryview(one)) for one in contents
        )
    )
    for content in contents:
        kind, found = into.read_message()
        assert (kind, payload_of(found)) == (DATA[0], content)


def test_data_goes_straight_to_who_takes_it(
    wire: tuple[socket.socket, socket.socket],
) -> None:
    """All else, and what is not taken, is paramiko's; and all while it wants keys."""
    out = with_a_small_counter(QuickPacketizer(wire[0]))
    into = with_a_small_counter(QuickPacketizer(wire[1]))
    taken: list[bytes] = []

    def take(payload: memoryview) -> bool:
        if payload[9:] == b"leave it":
            return False
        taken.append(bytes(payload[9:]))
        return True

    assert isinstance(into, QuickPacketizer)
    into.take_data = take
    for content in (b"one", b"two", b"leave it", b"three"):
        out.send_message(message(DATA, content))
    out.send_message(message(b"\x62", b"a request"))
    found = [into.read_message() for _ in range(2)]
    assert [payload_of(one) for _, one in found] == [b"leave it", b"a request"]
    assert taken == [b"one", b"two", b"three"]
    assert found[1][1].seqno == 4
    into._Packetizer__need_rekey = True
    out.send_message(message(DATA, b"four"))
    assert payload_of(into.read_message()[1]) == b"four"


def test_the_counter_wraps(wire: tuple[socket.socket, socket.socket]) -> None:
    out, into = keyed(QuickPacketizer(wire[0])), keyed(QuickPacketizer(wire[1]))
    for content in (b"one", b"two", b"three"):
        out.send_message(message(DATA, content))
        assert payload_of(into.read_message()[1]) == content


@pytest.mark.parametrize("at", [4, 5, 30, -1])
def test_a_changed_byte_is_noticed(
    wire: tuple[socket.socket, socket.socket], at: int
) -> None:
    keyed(QuickPacketizer(wire[0])).send_message(message(DATA, b"all is well"))
    sealed = bytearray(wire[1].recv(1000))
    sealed[at] ^= 1
    wire[0].sendall(sealed)
    with pytest.raises(SSHException, match="Mismatched MAC"):
        keyed(QuickPacketizer(wire[1])).read_message()


@pytest.mark.parametrize("size", [0, 2**20 + 1, 2**32 - 1])
def test_no_memory_for_a_packet_that_cannot_be(
    wire: tuple[socket.socket, socket.socket], size: int
) -> None:
    wire[0].sendall(struct.pack(">I", size))
    with pytest.raises(SSHException, match=f"a packet of {size} bytes"):
        keyed(QuickPacketizer(wire[1])).read_message()


def test_the_end_is_an_end(wire: tuple[socket.socket, socket.socket]) -> None:
    wire[0].sendall(b"\0\0")
    wire[0].shutdown(socket.SHUT_WR)
    with pytest.raises(EOFError):
        keyed(QuickPacketizer(wire[1])).read_message()
