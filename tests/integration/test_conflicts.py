"""Files of ours that somebody changed on the VM: both versions are kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from colab_devsync.errors import SyncError
from tests.support.project import Project


@pytest.fixture
def edited(project: Project) -> Project:
    """`a.py` was edited there, then here; the conflict is known."""
    project.write("a.py", "ours\n")
    project.write("b.py", "b\n")
    project.sync()
    project.write_there("a.py", "theirs\n")
    project.save("a.py", "ours, newer\n")
    project.wait_conflict("a.py")
    return project


def resolve(project: Project, path: str, keep: str) -> None:
    project.session.resolve(path, keep).result(30)  # type: ignore[arg-type]


def test_an_edit_there_is_kept_when_the_file_is_saved_here(edited: Project) -> None:
    [conflict] = edited.session.conflicts()
    assert edited.there("a.py") == b"theirs\n"
    assert (edited.root / "a.py").read_bytes() == b"ours, newer\n"
    assert Path(str(conflict.remote_copy)).read_bytes() == b"theirs\n"
    assert conflict.local_hash
    assert conflict.remote_hash
    assert conflict.local_hash != conflict.remote_hash
    edited.wait(lambda: edited.session.status().conflicts == 1, "the status knows")


def test_a_sync_finds_an_edit_there(project: Project) -> None:
    project.write("a.py", "ours\n")
    project.sync()
    project.write_there("a.py", "theirs\n")
    assert project.sync().conflicts == 1
    project.wait_conflict("a.py")
    assert project.there("a.py") == b"theirs\n"
    assert (project.root / "a.py").read_bytes() == b"ours\n"


def test_what_was_not_changed_here_is_not_said_to_be(project: Project) -> None:
    for name in ("there.py", "both.py", "gone.py"):
        project.write(name, "ours\n")
    project.sync()
    project.close()
    for name in ("there.py", "both.py", "gone.py"):
        project.write_there(name, "theirs\n")
    project.write("both.py", "newer\n")
    (project.root / "gone.py").unlink()
    assert project.sync().conflicts == 3
    stands = {
        p.path: project.session.stands_here(p.path) for p in project.session.conflicts()
    }
    assert stands == {
        "both.py": "changed",
        "gone.py": "deleted",
        "there.py": "unchanged",
    }
    os.utime(project.root / "there.py")  # a look at the time alone would not tell
    assert project.session.stands_here("there.py") == "unchanged"


def test_the_same_edit_on_both_sides_is_no_conflict(project: Project) -> None:
    project.write("a.py", "old\n")
    project.sync()
    project.write_there("a.py", "same\n")
    project.save("a.py", "same\n")
    assert project.sync().conflicts == 0
    assert project.session.conflicts() == ()


def test_other_files_go_on(edited: Project) -> None:
    edited.save("b.py", "b2\n")
    edited.save("new.py", "new\n")
    edited.wait_arrived("b.py")
    edited.wait_arrived("new.py")
    edited.save("a.py", "ours, newest\n")
    edited.sync()
    assert edited.there("a.py") == b"theirs\n"


def test_keep_local(edited: Project) -> None:
    edited.save("a.py", "ours, newest\n")
    resolve(edited, "a.py", "local")
    edited.wait_arrived("a.py")
    edited.sync()
    edited.assert_same()
    assert edited.session.conflicts() == ()
    edited.save("a.py", "and on\n")
    edited.wait_arrived("a.py")


def test_keep_remote(edited: Project) -> None:
    resolve(edited, "a.py", "remote")
    assert (edited.root / "a.py").read_bytes() == b"theirs\n"
    assert edited.session.conflicts() == ()
    again = edited.sync()
    assert (again.files, again.conflicts) == (0, 0)
    edited.save("a.py", "and on\n")
    edited.wait_arrived("a.py")


def test_what_keep_remote_replaces_is_kept(edited: Project, tmp_path: Path) -> None:
    resolve(edited, "a.py", "remote")
    kept = list((tmp_path / "devsync-state").rglob("versions/*"))
    assert b"ours, newer\n" in [path.read_bytes() for path in kept]


def test_keep_local_refuses_to_replace_what_nobody_has_seen(edited: Project) -> None:
    edited.write_there("a.py", "theirs, again\n")
    with pytest.raises(SyncError, match="once more"):
        resolve(edited, "a.py", "local")
    (shown,) = edited.session.conflicts()
    assert shown.remote_copy is not None
    assert Path(shown.remote_copy).read_bytes() == b"theirs, again\n"
    assert edited.there("a.py") == b"theirs, again\n"
    resolve(edited, "a.py", "local")
    edited.wait_arrived("a.py")


def test_keep_remote_takes_what_is_there_now(edited: Project) -> None:
    edited.write_there("a.py", "theirs, again\n")
    resolve(edited, "a.py", "remote")
    assert (edited.root / "a.py").read_bytes() == b"theirs, again\n"
    assert edited.sync().conflicts == 0


def test_a_file_takes_its_place_when_a_folder_there_has_left(project: Project) -> None:
    project.write_there("runs/output.log", "theirs\n")
    project.connect()
    project.save("runs", "ours\n")
    assert "a folder with files of its own" in project.wait_problem("runs").message
    assert project.there("runs/output.log") == b"theirs\n"
    os.rename(project.vm / "runs", project.vm / "old-runs")
    project.wait_arrived("runs")
    project.wait(lambda: not project.session.status().problems, "all is well")


def test_deleted_here_and_edited_there(project: Project) -> None:
    project.write("a.py", "ours\n")
    project.write("b.py", "b\n")
    project.sync()
    project.write_there("a.py", "theirs\n")
    (project.root / "a.py").unlink()
    project.sync()
    conflict = project.wait_conflict("a.py")
    assert project.there("a.py") == b"theirs\n"
    since = conflict.since
    project.sync()
    assert [one.since for one in project.session.conflicts()] == [since]
    resolve(project, "a.py", "remote")
    assert (project.root / "a.py").read_bytes() == b"theirs\n"
    assert project.sync().conflicts == 0


def test_deleted_here_and_edited_there_keep_local(project: Project) -> None:
    project.write("a.py", "ours\n")
    project.write("b.py", "b\n")
    project.sync()
    project.write_there("a.py", "theirs\n")
    (project.root / "a.py").unlink()
    project.sync()
    project.wait_conflict("a.py")
    resolve(project, "a.py", "local")
    project.wait_gone("a.py")
    assert project.session.conflicts() == ()


def test_a_file_new_on_both_sides_is_a_conflict(project: Project) -> None:
    project.write("b.py", "b\n")
    project.sync()
    project.write_there("new.py", "theirs\n")
    project.save("new.py", "ours\n")
    project.wait_conflict("new.py")
    assert project.there("new.py") == b"theirs\n"


def test_a_conflict_survives_a_restart(edited: Project) -> None:
    assert edited.restart().conflicts == 1
    [conflict] = edited.session.conflicts()
    assert Path(str(conflict.remote_copy)).read_bytes() == b"theirs\n"
    assert edited.there("a.py") == b"theirs\n"
    resolve(edited, "a.py", "local")
    edited.wait_arrived("a.py")


def test_a_large_conflict_is_kept_whole(project: Project) -> None:
    project.write("big.bin", b"a" * 3_000_000)
    project.sync()
    theirs = b"b" * 3_000_001
    project.write_there("big.bin", theirs)
    project.save("big.bin", b"c" * 3_000_000)
    conflict = project.wait_conflict("big.bin")
    assert Path(str(conflict.remote_copy)).read_bytes() == theirs
    resolve(project, "big.bin", "remote")
    assert (project.root / "big.bin").read_bytes() == theirs
    assert project.sync().conflicts == 0


def test_there_is_no_conflict_to_resolve(project: Project) -> None:
    project.write("a.py", "a\n")
    project.sync()
    with pytest.raises(SyncError, match=r"no conflict about 'a\.py'") as caught:
        resolve(project, "a.py", "local")
    assert "conflicts" in caught.value.hint
