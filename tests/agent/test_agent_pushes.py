"""Data that is pushed, at the agent: pieces, refusals, full disks, archives."""

from __future__ import annotations

import io
import os
import random
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from colab_devsync.agent import hashing, wire
from colab_devsync.errors import AgentError, ProtocolMismatch, RemoteRefused
from colab_devsync.remote.extras import load_extras
from tests.agent.conftest import Start
from tests.agent.driver import PATIENCE_S, Driven, tree_of
from tests.agent.test_agent_disks import Wrap, mounted

__all__ = ["mounted"]

CONTENT = random.Random(1).randbytes(95_000)
PIECE = 10_000
TIME_NS = 10**18 + 7


class Pusher:
    """The client's end of one push into `base`."""

    def __init__(self, agent: Driven, remote: str, **fields: Any) -> None:
        self.agent = agent
        load_extras(agent.client, "pushes")
        order = {"name": "data.bin", "kind": "file", **fields}
        self.place = self.ask("open", remote=remote, **order)
        self.base = self.place["base"]

    def ask(self, do: str, data: bytes = b"", **fields: Any) -> dict[str, Any]:
        return self.agent.ask("push", data, do=do, **fields)

    def at(self, do: str, data: bytes = b"", **fields: Any) -> dict[str, Any]:
        return self.ask(do, data, base=self.base, **fields)

    def send(self, path: str, data: bytes, offsets: list[int]) -> None:
        for at in offsets:
            piece = data[at : at + PIECE]
            self.at("part", piece, path=path, source=str(len(data)), offset=at)

    def end(self, path: str, data: bytes, digest: str = "") -> tuple[str, str]:
        entry = entry_of(path, data, digest or digest_of(data))
        reply = self.at("end", entry=entry, source=str(len(data)))
        status, _, reason = reply["results"][0]
        return status, reason

    def status_of_piece(self, path: str) -> str:
        """Of a file that is one piece."""
        try:
            self.send(path, CONTENT[:PIECE], [0])
        except AgentError:
            return wire.REFUSED
        return self.end(path, CONTENT[:PIECE])[0]

    def put(self, *files: tuple[str, bytes]) -> list[str]:
        entries = [
            [*entry_of(path, data, hashing.of_bytes(data)), len(data)]
            for path, data in files
        ]
        data = b"".join(data for _, data in files)
        return [one[0] for one in self.at("put", data, entries=entries)["results"]]

    def unpack(self, path: str, data: bytes) -> dict[str, Any]:
        self.send(path, data, offsets_of(data))
        entry = entry_of(path, data, digest_of(data))
        self.at("unpack", entry=entry, source=str(len(data)))
        until = time.monotonic() + PATIENCE_S
        while not (state := self.at("unpacked", path=path))["over"]:
            assert time.monotonic() < until
        return state


def offsets_of(data: bytes) -> list[int]:
    return list(range(0, len(data), PIECE))


def digest_of(data: bytes) -> str:
    lines = []
    for at in offsets_of(data):
        piece = data[at : at + PIECE]
        lines.append(f"{at} {len(piece)} {hashing.of_bytes(piece)}\n")
    return hashing.of_bytes("".join(lines).encode())


def entry_of(path: str, data: bytes, content_hash: str) -> list[Any]:
    return [path, wire.FILE, content_hash, len(data), True, TIME_NS]


def test_pieces_in_any_order_survive_a_kill(
    start: Start, root: Path, tmp_path: Path
) -> None:
    order = random.Random(2).sample(offsets_of(CONTENT), 10)
    first = start()
    pusher = Pusher(first, str(tmp_path / "there/data.bin"))
    assert pusher.place["path"] == "data.bin"
    pusher.send("data.bin", CONTENT, order[:6])
    assert pusher.end("data.bin", CONTENT) == (wire.BAD_HASH, "")
    first.kill()

    second = start()
    pusher = Pusher(second, str(tmp_path / "there/data.bin"))
    wish = ["data.bin", wire.FILE, len(CONTENT), TIME_NS, True, ""]
    assert pusher.at("look", files=[wish]) == {"states": ["partly new"]}
    have = pusher.at("have", path="data.bin", source=str(len(CONTENT)))["pieces"]
    assert [at for at, *_ in have] == sorted(order[:6])
    for at, length, found in have:
        assert found == hashing.of_bytes(CONTENT[at : at + length])
    pusher.send("data.bin", CONTENT, order[6:])
    assert pusher.end("data.bin", CONTENT) == (wire.OK, "")
    assert pusher.at("look", files=[wish]) == {"states": ["same"]}
    pusher.at("done", sync=True)
    assert tree_of(tmp_path / "there") == {"data.bin": CONTENT}
    about = (tmp_path / "there/data.bin").stat()
    assert (about.st_mtime_ns, about.st_mode & 0o700) == (TIME_NS, 0o700)


def test_pieces_that_changed_replace_the_old_ones(agent: Driven, root: Path) -> None:
    pusher = Pusher(agent, "data.bin")
    other = CONTENT[:50_000] + CONTENT[::-1][50_000:]
    pusher.send("data.bin", other, offsets_of(other))
    pusher.send("data.bin", CONTENT, offsets_of(CONTENT)[5:])
    assert pusher.end("data.bin", other)[0] == wire.BAD_HASH
    assert pusher.end("data.bin", CONTENT) == (wire.OK, "")
    assert tree_of(root)["data.bin"] == CONTENT


def test_another_size_begins_anew(agent: Driven, root: Path) -> None:
    pusher = Pusher(agent, "data.bin")
    pusher.send("data.bin", CONTENT, offsets_of(CONTENT))
    shorter = CONTENT[:33_333]
    asked = pusher.at("have", path="data.bin", source=str(len(shorter)))
    assert asked == {"pieces": []}
    pusher.send("data.bin", shorter, offsets_of(shorter))
    assert pusher.end("data.bin", shorter) == (wire.OK, "")
    assert tree_of(root)["data.bin"] == shorter


def test_what_must_be_new_never_replaces_anything(agent: Driven, root: Path) -> None:
    pusher = Pusher(agent, "data.bin")
    (root / "data.bin").write_bytes(b"theirs")
    pusher.send("data.bin", CONTENT, offsets_of(CONTENT))
    wish = ["data.bin", wire.FILE, len(CONTENT), TIME_NS, True, ""]
    assert pusher.at("look", files=[wish]) == {"states": ["partly other"]}
    entry = [*entry_of("data.bin", CONTENT, digest_of(CONTENT)), 0, True]
    reply = pusher.at("end", entry=entry, source=str(len(CONTENT)))
    assert reply["results"][0][0] == wire.CONFLICT
    assert (root / "data.bin").read_bytes() == b"theirs"


@pytest.mark.few
def test_paths_that_lead_out_are_refused(agent: Driven, tmp_path: Path) -> None:
    pusher = Pusher(agent, f"{tmp_path}/there/", kind="folder", name="x")
    os.symlink(tmp_path, tmp_path / "there/x/out")
    bad = ["../a", "/a", "a/../../b", "", "out/a", ".colab-devsync/a", "a\0b"]
    assert pusher.put(*[(path, b"x") for path in bad]) == [wire.REFUSED] * len(bad)
    for path in bad:
        assert pusher.status_of_piece(path) == wire.REFUSED
    for fields in ({"do": "nothing"}, {"do": "put"}, {"do": "look", "base": "a"}):
        with pytest.raises((ProtocolMismatch, RemoteRefused)):
            agent.ask("push", **fields)
    assert not (tmp_path / "a").exists()
    assert pusher.put(("fine", b"x")) == [wire.OK]


@pytest.mark.few
def test_a_full_disk(root: Path, tmp_path: Path, mounted: Wrap) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    python = mounted(f"mount -t tmpfs -o size=256k none {disk}")
    with Driven(root, python) as agent:
        pusher = Pusher(agent, f"{disk}/data.bin")
        assert pusher.place["free"] <= 256 << 10
        large = random.Random(3).randbytes(400_000)
        with pytest.raises(RemoteRefused, match="disk is full"):
            pusher.send("data.bin", large, offsets_of(large))
        # Nothing of it is left, so there is room for what fits.
        pusher.send("data.bin", CONTENT, offsets_of(CONTENT))
        assert pusher.end("data.bin", CONTENT) == (wire.OK, "")
        assert pusher.put(("a", bytes(200_000)), ("b", b"x")) == [wire.REFUSED, wire.OK]


def test_a_folder_that_is_another_one_now(
    agent: Driven, tmp_path: Path, root: Path
) -> None:
    """Somebody stopped a push, removed the folder and made it anew."""
    there = tmp_path / "there"
    stopped = Pusher(agent, f"{there}/data.bin")
    stopped.send("data.bin", CONTENT, offsets_of(CONTENT)[:3])
    there.rename(tmp_path / "elsewhere")
    there.mkdir()

    pusher = Pusher(agent, f"{there}/data.bin")
    asked = pusher.at("have", path="data.bin", source=str(len(CONTENT)))
    assert asked == {"pieces": []}
    pusher.send("data.bin", CONTENT, offsets_of(CONTENT))
    assert pusher.end("data.bin", CONTENT) == (wire.OK, "")
    pusher.at("done")
    assert tree_of(there) == {"data.bin": CONTENT}

    # The same with our own folder in it.
    pusher = Pusher(agent, f"{there}/data.bin")
    pusher.send("other.bin", CONTENT, offsets_of(CONTENT)[:3])
    (mine,) = (one for one in there.iterdir() if one.is_dir())
    mine.rename(tmp_path / "mine")
    pusher = Pusher(agent, f"{there}/data.bin")
    assert pusher.put(("data.bin", b"new")) == [wire.OK]


def test_what_is_no_file_is_not_replaced(agent: Driven, root: Path) -> None:
    pusher = Pusher(agent, "pipe")
    os.mkfifo(root / "pipe")
    wish = ["pipe", wire.FILE, len(CONTENT), TIME_NS, True, ""]
    reason = "a device, pipe or socket stands there on the VM"
    assert pusher.at("look", files=[wish]) == {"states": [reason]}
    assert pusher.put(("pipe", b"x")) == [wire.REFUSED]
    pusher.send("pipe", CONTENT, offsets_of(CONTENT))
    assert pusher.end("pipe", CONTENT) == (wire.REFUSED, reason)
    assert (root / "pipe").is_fifo()


def tar_gz(*members: tuple[str, int]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, size in members:
            info = tarfile.TarInfo(name)
            info.size = size
            archive.addfile(info, io.BytesIO(bytes(size)))
    return packed.getvalue()


def test_an_archive_is_unpacked_and_goes_away(agent: Driven, tmp_path: Path) -> None:
    pusher = Pusher(agent, str(tmp_path / "there"), kind="inside", name="a.tgz")
    state = pusher.unpack("a.tgz", tar_gz(("a/b", 5), ("c", 0), ("./d", 70_000)))
    assert (state["failure"], state["files"], state["bytes"]) == ("", 3, 70_005)
    pusher.at("done", sync=True)
    there = tree_of(tmp_path / "there")
    assert there == {"a/b": bytes(5), "c": b"", "d": bytes(70_000)}


def test_a_hard_link_to_nothing_is_named_and_the_rest_unpacked(
    agent: Driven, tmp_path: Path
) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in ("gone", "link", "whole"):
            info = tarfile.TarInfo(name)
            info.type = tarfile.REGTYPE if name == "whole" else tarfile.LNKTYPE
            info.linkname = "nothing"
            if name == "link":
                info.type = tarfile.SYMTYPE
            archive.addfile(info)
        again = tarfile.TarInfo("again")
        again.type, again.linkname = tarfile.LNKTYPE, "link"
        archive.addfile(again)
    pusher = Pusher(agent, str(tmp_path / "there"), kind="inside", name="a.tgz")
    state = pusher.unpack("a.tgz", packed.getvalue())
    assert state["failure"] == ""
    assert [one.partition(":")[0] for one in state["skipped"]] == ["gone", "again"]
    pusher.at("done")
    assert sorted(os.listdir(tmp_path / "there")) == ["link", "whole"]


@pytest.mark.few
def test_a_bomb_leaves_the_disk_as_it_was(
    root: Path, tmp_path: Path, mounted: Wrap
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with Driven(root, mounted(f"mount -t tmpfs -o size=40m none {disk}")) as agent:
        pusher = Pusher(agent, f"{disk}/there", kind="inside", name="bomb.tgz")
        state = pusher.unpack("bomb.tgz", tar_gz(("a", 1 << 20), ("b", 1 << 25)))
        assert "it needs 33.6 MB unpacked" in state["failure"]
        assert "has 0.0 MB free" not in state["failure"]
        assert state["files"] == 0
        pusher.at("done")
        seen = Path(f"/proc/{agent.process.pid}/root{disk}/there")
        assert tree_of(seen) == {}
