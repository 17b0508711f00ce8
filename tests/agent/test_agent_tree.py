"""What put, delete, look, check, read and list do to real files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from colab_devsync.agent import hashing, wire
from colab_devsync.agent.delta import pack
from colab_devsync.core.delta import BLOCK
from colab_devsync.errors import AgentCrashed, RemoteRefused
from tests.agent.driver import Driven, file_entry, tree_of
from tests.support.deltas import packed

OLD, NEW, THEIRS = b"old\n", b"new\n", b"theirs\n"
OLD_HASH, NEW_HASH = hashing.of_bytes(OLD), hashing.of_bytes(NEW)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_put_makes_folders_and_the_file(agent: Driven, root: Path) -> None:
    assert agent.put("a/b/c.txt", NEW) == wire.OK
    assert tree_of(root) == {"a/b/c.txt": NEW}
    assert agent.digest_is({"a/b/c.txt": NEW})
    assert agent.temporaries() == []


def test_a_put_replaces_what_is_accepted(agent: Driven, root: Path) -> None:
    agent.put("a", OLD)
    assert agent.put("a", NEW, hashing.of_bytes(b"other"), OLD_HASH) == wire.OK
    assert tree_of(root) == {"a": NEW}


def test_a_lost_acknowledgement_is_no_conflict(agent: Driven, root: Path) -> None:
    agent.put("a", OLD)
    assert agent.put("a", NEW, OLD_HASH) == wire.OK
    assert agent.put("a", NEW, OLD_HASH) == wire.SAME
    assert tree_of(root) == {"a": NEW}


def test_a_conflict_leaves_the_file_alone(agent: Driven, root: Path) -> None:
    agent.put("a", OLD)
    (root / "a").write_bytes(THEIRS)
    before = facts(root / "a")
    for accept in ([""], [NEW_HASH], []):
        entry = file_entry("a", NEW)._replace(accept=accept)
        result = agent.put_entries((entry, NEW))[0]
        assert result == (wire.CONFLICT, hashing.of_bytes(THEIRS), "")
    assert facts(root / "a") == before
    assert (root / "a").read_bytes() == THEIRS


def facts(path: Path) -> tuple[int, ...]:
    """All that a stat tells but the time of the last read."""
    found = path.stat()
    numbers = (found.st_mode, found.st_ino, found.st_size, found.st_nlink)
    return (*numbers, found.st_mtime_ns, found.st_ctime_ns)


def test_a_missing_file_conflicts_unless_absence_is_accepted(agent: Driven) -> None:
    assert agent.put("new/a", NEW, OLD_HASH) == wire.CONFLICT
    assert not (agent.root / "new").exists()
    assert agent.put("new/a", NEW, OLD_HASH, "") == wire.OK


def test_a_file_of_ours_edited_there_is_a_conflict(agent: Driven, root: Path) -> None:
    agent.put("a", OLD)
    (root / "a").write_bytes(b"OLD\n")  # the same size, at once
    assert agent.put("a", NEW, OLD_HASH) == wire.CONFLICT


def test_bytes_that_are_not_what_was_announced(agent: Driven, root: Path) -> None:
    agent.put("a", OLD)
    entry = file_entry("a", NEW, OLD_HASH)
    assert agent.put_entries((entry, b"new\r"))[0][0] == wire.BAD_HASH
    assert tree_of(root) == {"a": OLD}
    assert agent.temporaries() == []


def test_one_bad_entry_does_not_stop_the_batch(agent: Driven, root: Path) -> None:
    batch = [file_entry(f"d{i % 7}/f{i}", b"%d" % i) for i in range(100)]
    batch[50] = batch[50]._replace(path="../out")
    results = agent.put_entries(
        *[(entry, b"%d" % i) for i, entry in enumerate(batch)], durable=False
    )
    assert [i for i, result in enumerate(results) if result[0] != wire.OK] == [50]
    assert len(tree_of(root)) == 99
    assert not (root.parent / "out").exists()
    assert agent.temporaries() == []


def test_an_empty_file(agent: Driven, root: Path) -> None:
    assert agent.put("empty", b"") == wire.OK
    assert agent.put("empty", b"") == wire.SAME
    assert tree_of(root) == {"empty": b""}
    assert agent.read("empty") == ({"kind": "f", "size": 0, "exec": False}, b"")


# --- the exec bit -----------------------------------------------------------------


def test_the_exec_bit(agent: Driven, root: Path) -> None:
    agent.put("run", OLD, executable=True)
    assert mode_of(root / "run") & 0o111
    agent.put("run", NEW, OLD_HASH)  # None keeps it
    assert mode_of(root / "run") & 0o111
    assert agent.put("run", NEW, executable=False) == wire.SAME
    assert mode_of(root / "run") & 0o111 == 0
    assert agent.digest_is({"run": NEW})


def test_the_umask_rules_the_rest(agent: Driven, root: Path) -> None:
    umask = os.umask(0o022)
    os.umask(umask)
    agent.put("a", OLD)
    assert mode_of(root / "a") == 0o666 & ~umask


# --- links ------------------------------------------------------------------------


def test_links_inside_the_root(agent: Driven, root: Path) -> None:
    agent.put("data/a", OLD)
    assert agent.link("sub/alias", "../data/a")[0] == wire.OK
    assert agent.link("sub/alias", "../data/a")[0] == wire.SAME
    assert agent.read("sub/alias") == ({"kind": "l"}, b"../data/a")
    assert (root / "sub/alias").read_bytes() == OLD
    assert agent.look("sub/alias") == [hashing.of_link("../data/a")]
    held = hashing.of_link("../data/a")
    assert agent.put("sub/alias", NEW, held) == wire.OK
    assert tree_of(root) == {"data/a": OLD, "sub/alias": NEW}


def test_links_that_lead_out_are_refused(agent: Driven, root: Path) -> None:
    for target in ("/etc/passwd", "../x", "a/../../x", "", "x\0y", "../../../etc"):
        status, _, reason = agent.link("alias", target)
        assert (status, reason) == (wire.REFUSED, "the link leads out of the project")
    assert tree_of(root) == {}


def test_a_link_that_leads_nowhere_is_a_link(agent: Driven, root: Path) -> None:
    assert agent.link("alias", "later")[0] == wire.OK
    assert tree_of(root) == {"alias": b"-> later"}


# --- files become folders and back -----------------------------------------------


def test_an_empty_folder_gives_way_to_a_file(agent: Driven, root: Path) -> None:
    (root / "a/b/c").mkdir(parents=True)
    assert agent.look("a") == [""]
    assert agent.put("a", NEW) == wire.OK
    assert tree_of(root) == {"a": NEW}


def test_a_folder_with_files_does_not(agent: Driven, root: Path) -> None:
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/theirs").write_bytes(THEIRS)
    assert agent.put_result("a", NEW)[:2] == (wire.CONFLICT, "folder")
    assert agent.put_result("a", NEW, "folder")[0] == wire.REFUSED
    assert agent.delete("a", "folder") == wire.SAME  # our file is not there
    assert tree_of(root) == {"a/b/theirs": THEIRS}


def test_a_folder_becomes_a_file_and_back(agent: Driven, root: Path) -> None:
    agent.put("a/b", OLD)
    assert agent.delete("a/b", OLD_HASH) == wire.OK
    assert agent.put("a", NEW) == wire.OK
    status, _, reason = agent.put_result("a/b", OLD)
    assert (status, reason) == (wire.REFUSED, "a is a file on the VM, not a folder")
    assert agent.delete("a", NEW_HASH) == wire.OK
    assert agent.put("a/b", OLD) == wire.OK
    assert tree_of(root) == {"a/b": OLD}


def test_a_pipe_in_the_way_blocks_nobody(agent: Driven, root: Path) -> None:
    os.mkfifo(root / "pipe")
    assert agent.look("pipe") == ["other"]
    assert agent.put_result("pipe", NEW)[:2] == (wire.CONFLICT, "other")
    with pytest.raises(RemoteRefused, match="not a regular file"):
        agent.read("pipe")


# --- names ------------------------------------------------------------------------

NAMES = [
    "ä/ö.py",
    "\N{SNAKE}\N{ROCKET}.py",
    "line\nbreak",
    " lead and trail ",
    "quote'\"$`\\",
    "n" * 255,
    "raw-\udcff\udc80.bin",
    "-rf",
    "e\u0301",
]


def test_odd_names_work(agent: Driven, root: Path) -> None:
    for name in NAMES:
        assert agent.put(name, NEW) == wire.OK
        assert agent.read(name)[1] == NEW
    files = dict.fromkeys(NAMES, NEW)
    assert tree_of(root) == files
    assert set(agent.ask("list")["paths"]) == set(NAMES)
    assert agent.digest_is(files)
    assert [agent.delete(name, NEW_HASH) for name in NAMES] == [wire.OK] * len(NAMES)
    assert tree_of(root) == {}


def test_a_name_too_long_is_refused_in_words(agent: Driven, root: Path) -> None:
    status, _, reason = agent.put_result("a/" + "n" * 300, NEW)
    assert status == wire.REFUSED
    assert reason == "the name is too long for the VM's file system"
    assert agent.look("a/" + "n" * 300) == ["unreadable"]
    assert tree_of(root) == {}


def test_a_name_no_file_can_have_is_refused(agent: Driven) -> None:
    results = agent.put_entries(
        (file_entry("x\ud800", NEW), NEW), (file_entry("good", NEW), NEW)
    )
    assert [result[0] for result in results] == [wire.REFUSED, wire.OK]


# --- deltas -----------------------------------------------------------------------


def delta_of(
    path: str, old: bytes, new: bytes, accept: str
) -> tuple[wire.Entry, bytes]:
    payload = packed(old, new)
    base = hashing.of_bytes(old)
    entry = file_entry(path, new, accept or base)
    return entry._replace(kind=wire.DELTA, length=len(payload), base=base), payload


def test_a_delta_is_applied(agent: Driven, root: Path) -> None:
    old = b"".join(b"line %d\n" % i for i in range(50_000))
    new = old.replace(b"line 4000\n", b"another line\n")
    agent.put("big", old, executable=True)
    entry, payload = delta_of("big", old, new, "")
    assert len(payload) < 3 * BLOCK
    assert agent.put_entries((entry, payload))[0][0] == wire.OK
    assert tree_of(root) == {"big": new}
    assert mode_of(root / "big") & 0o100
    assert agent.put_entries((entry, payload))[0][0] == wire.SAME


def test_a_delta_whose_base_is_gone_asks_for_the_whole(
    agent: Driven, root: Path
) -> None:
    old, other, new = b"a" * 99_999, b"b" * 99_999, b"a" * 99_999 + b"!"
    entry, payload = delta_of("big", old, new, hashing.of_bytes(other))
    agent.put("big", other)
    assert agent.put_entries((entry, payload))[0][0] == wire.NEED_FULL
    assert tree_of(root) == {"big": other}


WRONG_DELTAS = [
    b"",
    b"\0\0\0\2[]",
    b"\xff\xff\xff\xff[]",
    pack([[0, 1 << 40]], b""),
    pack([[0, 9]] * 1000, b""),
    pack([[-5, 3]], b""),
    pack([[4]], b"abc"),
    b"\0\0\0\6[1, 2]",
    b"\0\0\0\5{1:2}",
    b"\0\0\0\6[[[]]]",
    b"\0\0\0\7[[1.5]]",
]


def test_a_wrong_delta_asks_for_the_whole(agent: Driven, root: Path) -> None:
    agent.put("a", OLD)
    for payload in WRONG_DELTAS:
        entry = file_entry("a", NEW, OLD_HASH)._replace(
            kind=wire.DELTA, base=OLD_HASH, length=len(payload)
        )
        assert agent.put_entries((entry, payload))[0][0] == wire.NEED_FULL
    assert tree_of(root) == {"a": OLD}
    assert agent.temporaries() == []


# --- delete -----------------------------------------------------------------------


def test_a_delete_takes_the_folders_it_emptied(agent: Driven, root: Path) -> None:
    agent.put("a/b/c", OLD)
    agent.put("a/keep", OLD)
    assert agent.delete("a/b/c", OLD_HASH) == wire.OK
    assert not (root / "a/b").exists()
    assert agent.delete("a/b/c", OLD_HASH) == wire.SAME
    assert agent.digest_is({"a/keep": OLD})


def test_a_delete_spares_what_was_edited(agent: Driven, root: Path) -> None:
    agent.put("a", OLD)
    (root / "a").write_bytes(THEIRS)
    assert agent.delete("a", OLD_HASH) == wire.CONFLICT
    assert tree_of(root) == {"a": THEIRS}


def test_a_delete_unlinks_a_link_and_not_its_target(agent: Driven, root: Path) -> None:
    agent.put("a", OLD)
    agent.link("alias", "a")
    assert agent.delete("alias", hashing.of_link("a")) == wire.OK
    assert tree_of(root) == {"a": OLD}


# --- looking ----------------------------------------------------------------------


def test_check_sees_remote_edits(agent: Driven, root: Path) -> None:
    files = {f"d/{i}": b"%04d" % i for i in range(20)}
    for path, data in files.items():
        agent.put(path, data)
    assert agent.digest_is(files)
    (root / "d/7").write_bytes(b"0seven"[:4])  # same size, perhaps the same tick
    assert agent.digest_is({**files, "d/7": b"0sev"})
    (root / "d/8").unlink()
    answer = agent.ask("check", digest="")
    assert answer["same"] is False
    assert set(answer["folders"]) == {"d"}
    assert "d/8" not in agent.ask("folder", folders=["d"])["paths"]


def test_look_adopts_and_forgets(agent: Driven, root: Path) -> None:
    (root / "theirs").write_bytes(THEIRS)
    assert agent.look("theirs", "absent") == [hashing.of_bytes(THEIRS), ""]
    assert agent.digest_is({"theirs": THEIRS})
    agent.ask("look", paths=[], forget=["theirs"])
    assert agent.digest_is({})
    assert tree_of(root) == {"theirs": THEIRS}


@pytest.mark.few
def test_many_folders_need_few_descriptors(agent: Driven, root: Path) -> None:
    paths = [f"d{i}/f" for i in range(5000)]
    for path in paths:
        (root / path).parent.mkdir()
        (root / path).write_bytes(b"x")
    assert set(agent.look(*paths)) == {hashing.of_bytes(b"x")}


def test_list_names_all_but_our_folder(agent: Driven, root: Path) -> None:
    agent.put("a/ours", OLD)
    (root / "a/theirs").write_bytes(THEIRS)
    (root / "a/folder-link").symlink_to(".")
    listed = agent.ask("list")["paths"]
    assert sorted(listed) == ["a/folder-link", "a/ours", "a/theirs"]


def test_read_takes_pieces(agent: Driven) -> None:
    agent.put("a", b"0123456789", executable=True)
    about, data = agent.read("a", offset=3, size=4)
    assert (about, data) == ({"kind": "f", "size": 10, "exec": True}, b"3456")
    assert agent.read("a", offset=99)[1] == b""
    with pytest.raises(RemoteRefused, match="No such file"):
        agent.read("absent")
    agent.put("d/a", OLD)
    with pytest.raises(RemoteRefused, match="not a regular file"):
        agent.read("d")


def test_machine_tells_of_the_machine(agent: Driven) -> None:
    facts = agent.ask("machine")
    assert facts["disk_total"] > facts["disk_free"] > 0
    assert "gpu" in facts


def test_a_handler_that_fails_tells_and_the_agent_lives_on(agent: Driven) -> None:
    with pytest.raises(AgentCrashed, match=r"agent/serve\.py.*\n.*folders"):
        agent.ask("folder")
    assert agent.put("a", NEW) == wire.OK
