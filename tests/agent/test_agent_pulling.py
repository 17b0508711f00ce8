"""What the agent tells of finished files, and the pieces it gives of them."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from colab_devsync.agent import wire
from colab_devsync.core.pulls import Remote, selection
from colab_devsync.engine.pulls import contents
from colab_devsync.remote.extras import load_extras
from colab_devsync.remote.pulling import Look, WatchFeed, WatchOrder
from tests.agent.conftest import Start
from tests.agent.driver import PATIENCE_S, Driven

pytestmark = pytest.mark.few


class Tcp:
    """A `Stream` straight to the agent's listener."""

    def __init__(self, agent: Driven) -> None:
        load_extras(agent.client, "pulls")
        port = agent.hello.bulk_port
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.socket.settimeout(PATIENCE_S)
        self.socket.sendall(bytes.fromhex(agent.tokens.pop()))
        self.read = self.socket.recv

    def write(self, *parts: bytes | memoryview) -> None:
        self.socket.sendall(b"".join(parts))

    def close(self) -> None:
        self.socket.close()

    def close_write(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def wait_end(self) -> None:
        """Nobody waits for it."""


class Watched:
    """What is known of one folder after the last `look`."""

    def __init__(
        self, stream: Tcp, include: Sequence[str], exclude: Sequence[str]
    ) -> None:
        self.stream = stream
        self.feed = WatchFeed(stream)
        order = WatchOrder("out", 1.0, selection(include), selection(exclude))
        self.feed.begin([order])
        self.files: dict[str, Remote] = {}
        self.last: Look | None = None
        self.number = 0

    def look(self) -> dict[str, Remote]:
        """After a look at everything."""
        self.number += 1
        self.feed.order(self.number)
        while (news := self.feed.next()) != self.number:
            self.take(news)
        return self.files

    def until(self, path: str) -> Remote:
        """Told by itself."""
        while path not in self.files:
            self.take(self.feed.next())
        return self.files[path]

    def take(self, news: Look | int) -> None:
        assert isinstance(news, Look)
        self.last = news
        self.files.update(news.files)
        for path in news.gone:
            del self.files[path]


@contextmanager
def watching(
    agent: Driven, *include: str, exclude: Sequence[str] = ()
) -> Iterator[Watched]:
    stream = Tcp(agent)
    try:
        yield Watched(stream, include, exclude)
    finally:
        stream.close()


@pytest.fixture
def out(agent: Driven, root: Path) -> Path:
    (root / "out").mkdir()
    return root / "out"


def test_finished_files_are_told_once_and_gone_ones_too(
    agent: Driven, out: Path
) -> None:
    (out / "a.pt").write_bytes(b"a")
    (out / "deep").mkdir()
    (out / "deep" / "b.pt").write_bytes(b"bb")
    with watching(agent) as watched:
        assert set(watched.look()) == {"a.pt", "deep/b.pt"}
        about = (out / "a.pt").stat()
        version = watched.files["a.pt"].version
        assert version[2:] == (about.st_size, about.st_mtime_ns)
        (out / "a.pt").unlink()
        assert set(watched.look()) == {"deep/b.pt"}


def test_new_files_are_told_by_themselves(agent: Driven, out: Path) -> None:
    with watching(agent) as watched:
        watched.look()
        (out / "x" / "y").mkdir(parents=True)
        (out / "x" / "y" / "new.pt").write_bytes(b"new")
        watched.until("x/y/new.pt")
        (out / "staged").write_bytes(b"moved")
        os.replace(out / "staged", out / "moved.pt")
        watched.until("moved.pt")


def test_a_time_that_is_set_afterwards_is_told(agent: Driven, out: Path) -> None:
    """Which file is the newest depends on it."""
    (out / "a.pt").write_bytes(b"a")
    with watching(agent) as watched:
        watched.look()
        watched.stream.socket.settimeout(30)  # a walk would find it in a minute
        os.utime(out / "a.pt", ns=(10**18, 10**18))
        while watched.files["a.pt"].version.mtime_ns != 10**18:
            watched.take(watched.feed.next())


def test_files_are_told_while_others_come_without_a_pause(
    agent: Driven, out: Path
) -> None:
    is_told, pause = threading.Event(), threading.Event()

    def write() -> None:
        for number in range(100_000):
            (out / f"{number}.pt").write_bytes(b"x")
            if is_told.is_set():
                return
            pause.wait(0.002)

    writer = threading.Thread(target=write, daemon=True)
    with watching(agent) as watched:
        watched.look()
        writer.start()
        try:
            watched.until("3.pt")
            assert writer.is_alive()
        finally:
            is_told.set()
            writer.join()


def test_what_is_written_is_not_told_but_what_is_appended_is(
    agent: Driven, out: Path
) -> None:
    with (
        watching(agent) as watched,
        open(out / "slow.pt", "wb", buffering=0) as slow,
        open(out / "metrics.csv", "ab", buffering=0) as appended,
        open(out / "events.out.tfevents.1.vm", "wb", buffering=0) as events,
    ):
        for stream in (slow, appended, events):
            stream.write(b"half")
        files = watched.look()
        assert set(files) == {"metrics.csv", "events.out.tfevents.1.vm"}
        assert all(one.grows for one in files.values())
        assert watched.last is not None
        assert watched.last.writing == 1
        slow.close()
        assert not watched.until("slow.pt").grows


def test_a_file_that_is_emptied_may_be_about_to_be_written(
    agent: Driven, out: Path
) -> None:
    (out / "last.pt").write_bytes(b"good")
    with watching(agent) as watched:
        watched.look()
        os.truncate(out / "last.pt", 0)  # as open(…, "wb") does before it returns
        emptied = (out / "last.pt").stat().st_mtime
        told = watched.look()["last.pt"]
        assert told.version.size == 4 or time.time() - emptied >= 1
        while watched.files["last.pt"].version.size:
            watched.take(watched.feed.next())


def test_patterns_choose(agent: Driven, out: Path) -> None:
    for name in ("a.pt", "b.txt", "keep/c.txt", "keep/no.tmp", "top/a/d.ckpt"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(b"x")
    with watching(agent, "*.pt", "keep/", "!*.tmp", "/top/*/d.ckpt") as watched:
        assert set(watched.look()) == {"a.pt", "keep/c.txt", "top/a/d.ckpt"}


def test_what_is_excluded_is_not_told(agent: Driven, out: Path) -> None:
    for name in ("a.pt", "tmp_a.pt", "old/b.pt", "deep/old/c.pt", "deep/d.pt", "e"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(b"x")
    exclude = ("old/", "tmp_*", "!tmp_keep*")
    with watching(agent, "*.pt", exclude=exclude) as watched:
        assert set(watched.look()) == {"a.pt", "deep/d.pt"}
        (out / "old" / "new.pt").write_bytes(b"x")
        (out / "tmp_new.pt").write_bytes(b"x")
        (out / "tmp_keep.pt").write_bytes(b"x")
        watched.until("tmp_keep.pt")
        assert set(watched.look()) == {"a.pt", "deep/d.pt", "tmp_keep.pt"}
    with watching(agent, exclude=exclude) as watched:
        assert set(watched.look()) == {"a.pt", "deep/d.pt", "e", "tmp_keep.pt"}


def test_a_folder_comes_goes_and_comes_again(agent: Driven, root: Path) -> None:
    with watching(agent) as watched:
        watched.look()
        assert watched.last is not None
        assert watched.last.state == "absent"
        for content in (b"first", b"second"):
            (root / "staged").mkdir()
            (root / "staged" / "a.pt").write_bytes(content)
            os.replace(root / "staged", root / "out")
            assert watched.until("a.pt").version.size == len(content)
            (root / "out" / "a.pt").unlink()
            (root / "out").rmdir()
            assert watched.look() == {}


def test_a_folder_that_somebody_still_uses_is_replaced(
    agent: Driven, out: Path
) -> None:
    """The kernel tells of its end only when the last user has left."""
    (out / "old.pt").write_bytes(b"old")
    with watching(agent) as watched, (out / "old.pt").open("rb"):
        watched.look()
        watched.stream.socket.settimeout(30)  # a walk would find it in a minute
        (out / "old.pt").unlink()
        out.rmdir()
        while "old.pt" in watched.files:
            watched.take(watched.feed.next())
        out.mkdir()
        (out / "new.pt").write_bytes(b"new")
        watched.until("new.pt")


def test_a_folder_behind_a_link_is_exchanged(agent: Driven, root: Path) -> None:
    for name in ("first", "second"):
        (root / name / "out").mkdir(parents=True)
        (root / name / "out" / f"{name}.pt").write_bytes(b"a")
    (root / "run").symlink_to("first")
    (root / "out").symlink_to("run/out")
    with watching(agent) as watched:
        assert set(watched.look()) == {"first.pt"}
        watched.stream.socket.settimeout(30)  # a walk would find it in a minute
        (root / "staged").symlink_to("second")
        os.replace(root / "staged", root / "run")
        watched.until("second.pt")
        assert set(watched.files) == {"second.pt"}


def test_a_folder_is_followed_when_it_is_renamed(agent: Driven, out: Path) -> None:
    (out / "tmp").mkdir()
    (out / "tmp" / "a.pt").write_bytes(b"a")
    with watching(agent) as watched:
        watched.look()
        watched.stream.socket.settimeout(30)  # a walk would find it in a minute
        os.replace(out / "tmp", out / "step-500")
        watched.until("step-500/a.pt")
        (out / "step-500" / "b.pt").write_bytes(b"b")
        watched.until("step-500/b.pt")


def test_thousands_of_files_at_once(agent: Driven, out: Path) -> None:
    for number in range(3000):
        (out / f"{number}.pt").touch()
    with watching(agent) as watched:
        assert len(watched.look()) == 3000


# --- pieces -----------------------------------------------------------------------


class Reading:
    def __init__(self, stream: Tcp) -> None:
        self._stream = stream
        stream.write(wire.encode(0, {"op": "reads"}))
        self._reader = stream.socket.makefile("rb")

    def ask(self, **meta: Any) -> tuple[dict[str, Any], bytes]:
        self._stream.write(wire.encode(7, meta))
        frame = wire.read_frame(self._reader)
        assert frame is not None
        assert frame.seq == 7
        return frame.meta, wire.inflate(frame)

    def close(self) -> None:
        self._reader.close()
        self._stream.close()


@pytest.fixture
def reading(agent: Driven) -> Iterator[Reading]:
    found = Reading(Tcp(agent))
    yield found
    found.close()


def about(path: Path, *, grows: bool = False) -> list[object]:
    found = path.stat()
    numbers = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
    return ["out", path.name, *numbers, grows]


def gmac(data: bytes, form: str) -> str:
    total = contents.begin(form)
    total.update(data)
    return total.text()


def test_pieces_are_of_the_version_that_was_asked_for(
    reading: Reading, out: Path
) -> None:
    data = os.urandom(1_000_000)
    (out / "a.pt").write_bytes(data)
    file = about(out / "a.pt")
    ask = {"op": "range", "file": file, "offset": 999_000, "size": 1000}
    assert reading.ask(**ask) == ({}, data[-1000:])
    assert reading.ask(**ask, pack=True)[1] == data[-1000:]
    digests = {"op": "digests", "file": file, "points": [10, len(data)]}
    wanted = [hashlib.sha256(data[:end]).hexdigest() for end in (10, len(data))]
    assert reading.ask(**digests)[0] == {"hashes": wanted}
    assert reading.ask(**digests, form="other:00")[0] == {"hashes": wanted}
    form = contents.fast_form()
    assert reading.ask(**digests, form=form)[0] == {
        "hashes": [gmac(data[:end], form) for end in (10, len(data))]
    }
    # A new file takes its name: the old one can still be read to its end ...
    (out / "staged").write_bytes(b"new")
    os.replace(out / "staged", out / "a.pt")
    assert reading.ask(**ask) == ({}, data[-1000:])
    # ... but what is changed in place can not.
    file = about(out / "a.pt")
    assert reading.ask(op="range", file=file, offset=0, size=3) == ({}, b"new")
    (out / "a.pt").write_bytes(b"changed")
    changed = ({"changed": True}, b"")
    assert reading.ask(op="range", file=file, offset=0, size=3) == changed
    assert reading.ask(op="digests", file=file, points=[3]) == changed


def test_what_grows_may_have_grown(reading: Reading, out: Path) -> None:
    (out / "a.log").write_bytes(b"one\n")
    file = about(out / "a.log", grows=True)
    with open(out / "a.log", "ab") as stream:
        stream.write(b"two\n")
    assert reading.ask(op="range", file=file, offset=0, size=4) == ({}, b"one\n")
    (out / "a.log").write_bytes(b"1")
    assert reading.ask(op="range", file=file, offset=0, size=4)[0] == {"changed": True}


def test_many_small_files_in_one_answer(reading: Reading, out: Path) -> None:
    for name in "abc":
        (out / name).write_bytes(name.encode() * 3)
    files = [about(out / name) for name in "abc"]
    (out / "b").unlink()
    meta, data = reading.ask(op="files", files=files)
    hashes = [hashlib.sha256(name.encode() * 3).hexdigest() for name in "ac"]
    assert meta["results"] == [hashes[0], {"changed": True}, hashes[1]]
    assert data == b"aaaccc"


def test_a_python_without_ctypes(start: Start, root: Path) -> None:
    """As one that was built without libffi: it looks for itself, and has SHA-256."""
    agent = start(fault="import sys; sys.modules['ctypes'] = None")
    (root / "out").mkdir()
    with watching(agent) as watched:
        assert watched.look() == {}
        (root / "out" / "a.pt").write_bytes(b"content")
        watched.until("a.pt")
    reading = Reading(Tcp(agent))
    file = about(root / "out" / "a.pt")
    form = contents.fast_form()
    answer = reading.ask(op="digests", file=file, points=[7], form=form)[0]
    assert answer == {"hashes": [hashlib.sha256(b"content").hexdigest()]}
    reading.close()


def test_nothing_outside_of_the_folder_is_read(
    reading: Reading, out: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    os.symlink(tmp_path / "secret", out / "link")
    file = about(out / "link")
    for path in ("link", "../../secret", str(tmp_path / "secret")):
        file[1] = path
        meta, data = reading.ask(op="range", file=file, offset=0, size=6)
        assert meta == {"failed": "not permitted on the VM"}
        assert data == b""


def test_a_hole_is_told_not_sent(reading: Reading, out: Path) -> None:
    with open(out / "sparse", "wb") as stream:
        stream.seek(50_000_000)
        stream.write(b"end")
    file = about(out / "sparse")
    meta, data = reading.ask(op="range", file=file, offset=0, size=1_000_000)
    assert data == b""
    assert meta["hole"] > 1_000_000
