"""The windows of one SSH channel under a `Flow`: what is granted, what is sent."""

from __future__ import annotations

import struct
import threading

from colab_devsync.link.channel import Packet, SshChannel

KIB = 1 << 10
ADJUST, DATA = 0x5D, 0x5E


class Wire:
    """The transport's side: keeps what is sent."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.packets: list[bytes] = []

    def send_packets(self, *packets: Packet) -> None:
        with self.changed:
            self.packets += [b"".join(parts) for parts in packets]
            self.changed.notify_all()

    def forget(self, number: int) -> None:
        pass

    def loss(self) -> str:
        return "lost"

    def granted(self) -> int:
        """Bytes by which the peer's window was opened."""
        return sum(
            struct.unpack(">I", packet[5:9])[0]
            for packet in self.packets
            if packet[0] == ADJUST
        )

    def sent(self) -> int:
        return sum(len(one) - 9 for one in self.packets if one[0] == DATA)

    def wait_sent(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.sent() >= count, 30)
        assert self.sent() == count


class Fixed:
    """A `Flow` of given sizes."""

    def __init__(self, down: int, up: int) -> None:
        self.down = down
        self.up = up
        self.taken = 0
        self.closed = False

    def on_read(self, size: int) -> int:
        return self.down

    def may_send(self) -> int:
        return self.up

    def on_taken(self, size: int) -> None:
        self.taken += size

    def close(self) -> None:
        self.closed = True


def opened(flow: Fixed, window: int = 2048 * KIB) -> tuple[SshChannel, Wire]:
    wire = Wire()
    channel = SshChannel(wire, 0, "test", flow)
    channel.on_open(0, window, 32 * KIB)
    return channel, wire


def test_what_was_read_is_granted_again() -> None:
    channel, wire = opened(Fixed(64 * KIB, 64 * KIB))
    assert channel.window == 64 * KIB
    channel.on_data(memoryview(bytes(40 * KIB)))
    assert wire.granted() == 0  # nobody took it yet
    channel.read(40 * KIB)
    assert wire.granted() == 40 * KIB


def test_a_larger_window_is_granted_with_the_next_read() -> None:
    flow = Fixed(64 * KIB, 64 * KIB)
    channel, wire = opened(flow)
    flow.down = 1024 * KIB
    channel.on_data(memoryview(b"x"))
    channel.read(1)
    assert wire.granted() == 960 * KIB + 1


def test_a_smaller_window_is_reached_by_granting_nothing() -> None:
    flow = Fixed(64 * KIB, 64 * KIB)
    channel, wire = opened(flow)
    flow.down = 16 * KIB
    for _ in range(3):
        channel.on_data(memoryview(bytes(16 * KIB)))
        channel.read(16 * KIB)
    assert wire.granted() == 0
    channel.on_data(memoryview(bytes(16 * KIB)))
    channel.read(16 * KIB)
    assert wire.granted() == 16 * KIB


def test_what_came_is_read_as_it_came() -> None:
    channel, wire = opened(Fixed(64 * KIB, 64 * KIB))
    for data in (b"one", b"", b"two", b"three"):  # no data is not the end of data
        channel.on_data(memoryview(data))
    assert channel.read_parts(8) == [b"one", b"two", b"th"]
    assert channel.read(100) == b"ree"
    channel.on_data(memoryview(bytes(40 * KIB)))
    channel.read_parts(40 * KIB)
    assert wire.granted() == 40 * KIB + 11
    channel.on_eof()
    assert channel.read_parts(1) == []
    assert channel.read(1) == b""


def test_no_more_is_sent_than_may_be_on_its_way() -> None:
    flow = Fixed(64 * KIB, 100 * KIB)
    channel, wire = opened(flow)
    writer = threading.Thread(target=channel.write, args=(bytes(200 * KIB),))
    writer.start()
    packet = 32 * KIB - 192
    wire.wait_sent(3 * packet)  # a fourth would be more than 100 KiB
    channel.on_window(2 * packet)
    wire.wait_sent(5 * packet)
    channel.on_window(5 * packet)
    writer.join(30)
    assert wire.sent() == 200 * KIB
    assert flow.taken == 7 * packet


def test_what_the_peer_does_not_take_is_not_on_its_way() -> None:
    """A server that acknowledges late is not waited for longer than a moment."""
    channel, wire = opened(Fixed(64 * KIB, 40 * KIB))
    writer = threading.Thread(target=channel.write, args=(bytes(60 * KIB),))
    writer.start()
    writer.join(30)
    assert wire.sent() == 60 * KIB


def test_pieces_fill_packets_whatever_their_sizes() -> None:
    channel, wire = opened(Fixed(64 * KIB, 1024 * KIB))
    pieces = [
        bytes([number]) * size for number, size in enumerate((5, 0, 1, 70_000, 9))
    ]
    channel.write(*pieces, memoryview(b"end"))
    assert b"".join(packet[9:] for packet in wire.packets) == b"".join(pieces) + b"end"
    packet = 32 * KIB - 192
    assert [len(one) - 9 for one in wire.packets] == [
        packet,
        packet,
        70_018 - 2 * packet,
    ]


def test_closing_tells_the_flow() -> None:
    flow = Fixed(64 * KIB, 64 * KIB)
    channel, _ = opened(flow)
    channel.close()
    assert flow.closed
