"""What had arrived when the link broke need not come again, to the byte."""

from __future__ import annotations

import hashlib
import io
import threading
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from colab_devsync.agent import wire
from colab_devsync.core.pulls import Version
from colab_devsync.engine.pulls.fetcher import Fetcher
from colab_devsync.engine.pulls.small import Batch, Came, Small
from colab_devsync.engine.traffic.intake import Intake
from colab_devsync.engine.uplink import Uplink
from colab_devsync.link.channel import MAX_PACKET, WINDOW, Packet, SshChannel

SIZE = 20_000  # bytes of each file
FILES = 7  # all of them are asked for at once
WAIT_S = 60


class Lane:
    """The VM's side of one stream: it hears questions, and answers when it is told."""

    def __init__(self, number: int, changed: threading.Condition) -> None:
        self._changed = changed
        self._heard = b""
        self.channel = SshChannel(self, number, "a lane")
        self.channel.on_open(number, WINDOW, MAX_PACKET)

    def send_packets(self, *packets: Packet) -> None:
        for packet in map(b"".join, packets):
            if packet[0] == 0x5E:  # data; else a window
                with self._changed:
                    self._heard += packet[9:]
                    self._changed.notify_all()

    def forget(self, number: int) -> None:
        pass

    def loss(self) -> str:
        return "the tunnel dropped"

    def asked(self) -> list[str]:
        """The files it was asked for, in order."""
        stream = io.BytesIO(self._heard)
        frames = iter(lambda: wire.read_frame(stream), None)
        return [one.meta["files"][0][0] for one in frames if one.meta["op"] == "files"]

    def answer(self, path: str, *, cut: int = 0) -> None:
        """All but the last `cut` bytes arrive."""
        data = content(path)
        results = [hashlib.sha256(data).hexdigest()]
        frame = wire.encode(1, {"results": results}, data)
        self.channel.on_data(memoryview(frame)[: len(frame) - cut])


def content(path: str) -> bytes:
    return path.encode() * SIZE


@dataclass
class Client:
    is_lost: bool = False
    extras: set[str] = field(default_factory=lambda: {"pulls"})
    extras_lock: Any = field(default_factory=threading.Lock)

    def lose(self, error: Exception) -> None:
        raise AssertionError(error)


class Link:
    """What a fetcher uses of an uplink."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.lanes: list[Lane] = []
        self.client = Client()
        self.incoming = Intake()

    def open_streams(self, count: int) -> list[SshChannel]:
        self.lanes = [Lane(number, self.changed) for number in range(count)]
        return [lane.channel for lane in self.lanes]


@pytest.mark.parametrize("cut", [1, SIZE])
def test_what_had_arrived_is_kept_when_the_link_is_cut(cut: int) -> None:
    link, ready, read_on = Link(), threading.Event(), threading.Event()
    came: dict[str, list[Came] | None] = {}

    def on_end(batch: Batch, result: list[Came] | None) -> None:
        assert read_on.wait(WAIT_S)  # the disk is slow
        with link.changed:
            came[batch.files[0].path] = result
            link.changed.notify_all()

    fetcher = Fetcher(cast(Uplink, link), ready.set)
    fetcher.start()
    assert ready.wait(WAIT_S)
    paths = [str(number) for number in range(FILES)]
    version = Version(1, 1, SIZE, 1)
    fetcher.use([Batch([Small(path, version, [path])], on_end) for path in paths])
    with link.changed:
        assert link.changed.wait_for(
            lambda: sum(len(lane.asked()) for lane in link.lanes) == FILES, WAIT_S
        )
    last = []
    for lane in link.lanes[1:]:
        *whole, part = lane.asked()
        assert whole
        for path in whole:
            lane.answer(path)
        lane.answer(part, cut=cut)
        last.append(part)
    link.client.is_lost = True
    for lane in link.lanes:
        lane.channel.on_lost()
    fetcher.close()
    for thread in threading.enumerate():
        if thread.name == "devsync-pull-close":
            thread.join(WAIT_S)
    read_on.set()
    with link.changed:
        assert link.changed.wait_for(lambda: len(came) == FILES, WAIT_S)
    for path, result in came.items():
        if path in last:
            assert result is None
        else:
            assert [one.content for one in result or ()] == [content(path)]


def test_what_waited_for_room_is_asked_for_on_the_next_link() -> None:
    first, ready, lost = Link(), threading.Event(), threading.Event()
    first.client.lose = lambda error: lost.set()  # type: ignore[method-assign]
    first.incoming.close()  # as the end of a link does
    batch = Batch([Small("a", Version(1, 1, SIZE, 1), ["a"])], lambda *_: None)
    fetcher = Fetcher(cast(Uplink, first), ready.set)
    fetcher.start()
    assert ready.wait(WAIT_S)
    fetcher.use([batch])
    assert lost.wait(WAIT_S)
    fetcher.close()

    second, ready = Link(), threading.Event()
    fetcher = Fetcher(cast(Uplink, second), ready.set)
    fetcher.start()
    assert ready.wait(WAIT_S)
    fetcher.use([batch])
    with second.changed:
        assert second.changed.wait_for(
            lambda: [one for lane in second.lanes for one in lane.asked()] == ["a"],
            WAIT_S,
        )
    fetcher.close()
