"""Who may write: one client, and of its agents the newest."""

from __future__ import annotations

from pathlib import Path

import pytest

from colab_devsync.agent import hashing, wire
from colab_devsync.errors import Busy, ProtocolMismatch
from tests.agent.conftest import Start
from tests.agent.driver import digest_of, file_entry, tree_of

pytestmark = pytest.mark.few

OLD, NEW = b"old\n", b"new\n"
OLD_HASH = hashing.of_bytes(OLD)


def test_a_newer_agent_makes_the_older_one_stale(start: Start, root: Path) -> None:
    first = start()
    assert first.put("a", OLD) == wire.OK
    second = start()
    assert second.hello.epoch == first.hello.epoch + 1
    assert second.hello.digest == digest_of({"a": OLD})
    assert first.put("a", NEW, OLD_HASH) == wire.STALE
    assert first.delete("a", OLD_HASH) == wire.STALE
    part = first.ask("part", NEW, entry=file_entry("b", NEW), size=4, offset=0)
    assert part["result"][0] == wire.STALE
    assert tree_of(root) == {"a": OLD}
    assert first.temporaries() == []
    assert second.put("a", NEW, OLD_HASH) == wire.OK


def test_an_agent_that_starts_late_does_not_take_the_root_from_a_later_attempt(
    start: Start,
) -> None:
    """Its hello was in the pipe when the tunnel broke; the VM was slow to start it."""
    live = start(session="one", attempt=2)
    with pytest.raises(Busy):
        start(session="one", attempt=1)
    assert live.put("a", OLD) == wire.OK
    start(session="one", attempt=3)
    assert live.put("b", OLD) == wire.STALE


def test_another_client_waits_for_the_agent_to_end(start: Start, root: Path) -> None:
    mine = start()
    with pytest.raises(Busy) as busy:
        start(client="other")
    assert busy.value.message == "The remote folder is in use by me@laptop."
    assert mine.put("a", OLD) == wire.OK  # the attempt took nothing
    mine.kill()
    other = start(client="other")
    assert other.hello.count == 1
    assert other.put("a", NEW, OLD_HASH) == wire.OK


def test_the_newest_agent_keeps_others_out_when_the_older_has_gone(
    start: Start,
) -> None:
    first, second = start(), start()
    first.kill()
    assert second.put("a", OLD) == wire.OK
    with pytest.raises(Busy):
        start(client="other")


def test_a_restart_finds_everything_again(start: Start, root: Path) -> None:
    with start() as first:
        assert first.hello.fresh
        files = {f"d{i % 3}/{i}": b"%d" % i for i in range(30)}
        for path, data in files.items():
            first.put(path, data)
        first.delete("d0/0", hashing.of_bytes(b"0"))
        del files["d0/0"]
    second = start()
    assert not second.hello.fresh
    assert not second.hello.torn
    assert second.hello.vm.marker == first.hello.vm.marker
    assert second.hello.vm.boot_id == first.hello.vm.boot_id
    assert second.hello.digest == digest_of(files)
    assert second.hello.count == len(files)


def test_edits_between_two_agents_are_seen(start: Start, root: Path) -> None:
    with start() as first:
        first.put("a", OLD)
        first.put("b", OLD)
    (root / "a").write_bytes(b"OLD\n")
    (root / "b").unlink()
    second = start()
    assert second.hello.digest == digest_of({"a": b"OLD\n"})
    assert second.put("a", NEW, OLD_HASH) == wire.CONFLICT


def test_an_attempt_that_broke_off_leaves_the_root_fresh(
    start: Start, root: Path
) -> None:
    with start() as first:
        assert first.hello.fresh
    assert start().hello.fresh
    (root / "theirs").write_bytes(OLD)
    assert not start().hello.fresh


def test_batches_that_were_not_synced(start: Start, root: Path) -> None:
    unsynced = root / ".colab-devsync/unsynced"
    with start() as first:
        first.put_entries((file_entry("a", OLD), OLD), durable=False)
        assert unsynced.exists()
        first.ask("sync")
        assert not unsynced.exists()
        first.put_entries((file_entry("b", OLD), OLD), durable=False)
    with start() as second:  # only the agent went down
        assert not second.hello.torn
        assert not unsynced.exists()
        second.put_entries((file_entry("c", OLD), OLD), durable=False)
    unsynced.write_text("another boot")
    third = start()
    assert third.hello.torn
    assert third.hello.digest == digest_of(dict.fromkeys("abc", OLD))
    assert not start().hello.torn


def test_after_a_torn_batch_time_stamps_are_not_believed(
    start: Start, root: Path
) -> None:
    with start() as first:
        first.put("a", OLD)
    lines = (root / ".colab-devsync/manifest.log").read_text()
    false = lines.replace(OLD_HASH, hashing.of_bytes(NEW))
    (root / ".colab-devsync/manifest.log").write_text(false)
    (root / ".colab-devsync/unsynced").write_text("another boot")
    assert start().hello.digest == digest_of({"a": OLD})


def test_a_broken_lock_file_locks_nobody_out(start: Start, root: Path) -> None:
    start().kill()
    for garbage in (b"", b"{", b"[]", b"\xff\xff"):
        (root / ".colab-devsync/lock").write_bytes(garbage)
        with start(client=f"client {garbage!r}") as agent:
            assert agent.hello.epoch == 1


def test_hello_comes_once_and_first(start: Start) -> None:
    agent = start()
    with pytest.raises(ProtocolMismatch, match="hello comes once"):
        agent.ask("hello", version=wire.VERSION, root=str(agent.root), client="me")
    with pytest.raises(ProtocolMismatch, match="speaks version"):
        agent.ask("hello", version=99)
