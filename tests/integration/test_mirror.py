"""What is saved here is on the VM: bytes, names, modes, kinds."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from colab_devsync.core.events import Progress
from tests.support.project import CONFIG, Project

posix_modes = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no executable bit"
)


def test_a_save_is_on_the_vm_when_it_is_acknowledged(project: Project) -> None:
    project.write("train.py", "print(0)\n")
    project.sync()
    project.save("train.py", "print(1)\n")
    project.wait(lambda: project.log.mirrored("train.py"), "the save")
    assert project.there("train.py") == b"print(1)\n"
    event = project.log.mirrored("train.py")[-1]
    assert event.ms > 0
    assert event.bytes > 0


def test_twenty_saves_at_once_all_arrive(project: Project) -> None:
    project.sync()
    for number in range(20):
        project.save(f"pkg/m{number}.py", f"x = {number}\n" * 500)
    paths = {f"pkg/m{number}.py" for number in range(20)}
    project.wait(lambda: {e.path for e in project.log.mirrored()} >= paths, "20 saves")
    project.assert_same()


def test_a_file_saved_fifty_times_ends_with_the_last_content(project: Project) -> None:
    project.sync()
    for number in range(50):
        project.save("busy.py", f"n = {number}\n" * 2000)
    project.sync()
    assert project.there("busy.py") == b"n = 49\n" * 2000
    assert 1 <= len(project.log.mirrored("busy.py")) <= 50
    assert project.session.conflicts() == ()


def test_only_the_newest_content_is_sent_while_the_link_is_down(
    project: Project,
) -> None:
    project.sync()
    project.session.disconnect().result(30)
    for number in range(50):
        project.save("busy.py", f"n = {number}\n")
    project.sync()
    assert project.there("busy.py") == b"n = 49\n"
    assert len(project.log.mirrored("busy.py")) <= 1


def test_an_unchanged_project_sends_nothing(project: Project) -> None:
    for number in range(30):
        project.write(f"d{number % 3}/f{number}.py", f"{number}\n")
    first = project.sync()
    assert first.files == 31
    again = project.sync()
    assert (again.files, again.bytes, again.deleted) == (0, 0, 0)


def test_a_save_without_a_change_sends_nothing(project: Project) -> None:
    name = project.write("same.py", "x = 1\n")
    project.sync()
    project.log.clear()
    os.utime(name)
    project.session.saved(name)
    result = project.sync()
    assert (result.files, result.bytes) == (0, 0)
    assert project.log.mirrored() == []


def test_a_check_lists_what_differs_and_changes_nothing(project: Project) -> None:
    project.configure(sync="watch = false")
    project.write("a.py", "a\n")
    project.write("b.py", "b\n")
    project.sync()
    project.write("a.py", "changed\n")
    project.write("new.py", "new\n")
    (project.root / "b.py").unlink()
    result = project.sync(check=True)
    assert result.paths == ("a.py", "b.py", "new.py")
    assert (result.files, result.deleted) == (2, 1)
    assert project.there("a.py") == b"a\n"
    assert project.there("b.py") == b"b\n"
    assert project.there("new.py") is None
    project.sync()
    project.assert_same()


def test_a_check_sees_an_edit_on_the_vm(project: Project) -> None:
    project.write("a.py", "a\n")
    project.sync()
    project.write_there("a.py", "theirs\n")
    assert project.sync(check=True).paths == ("a.py",)
    assert project.session.conflicts() == ()


def test_an_initial_mirror_of_2000_files_tells_how_far_it_is(project: Project) -> None:
    for number in range(2000):
        project.write(f"d{number % 40}/f{number}.py", f"x = {number}\n" * 20)
    told: list[Progress] = []
    result = project.sync(progress=told.append)
    assert result.files == 2001
    project.assert_same()
    for name in ("files", "bytes"):
        values = [getattr(one, name) for one in told]
        assert values == sorted(values)
        totals = [getattr(one, f"{name}_total") for one in told]
        assert all(value <= total for value, total in zip(values, totals, strict=True))
    assert told
    assert told[-1].files == told[-1].files_total >= 2001
    assert told[-1].bytes == told[-1].bytes_total > 0
    again = project.sync()
    assert (again.files, again.bytes) == (0, 0)


def test_empty_files_and_unusual_names_arrive(project: Project) -> None:
    names = [
        "empty.txt",
        "übung/größe.py",
        "日本/語.py",
        "with space.py",
        "a'b\"c;$x.py",
    ]
    names += ["-rf.py", "#x.py", "émoji 🎉.txt", "n" * 255]
    for name in names:
        project.write(name, "" if name == "empty.txt" else name)
    project.write("much.bin", "abc" * 10_000)  # beside it, the others weigh nothing
    assert project.sync().files == len(names) + 2
    project.assert_same()
    assert project.there("empty.txt") == b""
    assert project.session.status().problems == ()


def test_a_file_that_becomes_empty_arrives_empty(project: Project) -> None:
    project.write("a.txt", "full\n")
    project.sync()
    project.save("a.txt", "")
    project.wait(lambda: project.log.mirrored("a.txt"), "it is acknowledged")
    assert project.there("a.txt") == b""


@posix_modes
def test_the_executable_bit_travels_both_ways_of_change(project: Project) -> None:
    name = project.write("run.sh", "#!/bin/sh\n")
    name.chmod(0o755)
    project.sync()
    there = project.vm / "run.sh"
    assert there.stat().st_mode & stat.S_IXUSR
    name.chmod(0o644)
    project.sync()
    assert not there.stat().st_mode & 0o111
    assert project.session.conflicts() == ()
    again = project.sync()
    assert (again.files, again.bytes) == (0, 0)


@posix_modes
def test_links_inside_the_project_travel_as_links(project: Project) -> None:
    project.write("data/real.txt", "x\n")
    (project.root / "link").symlink_to("data/real.txt")
    (project.root / "data/up").symlink_to("../link")
    (project.root / "folder").symlink_to("data")
    project.sync()
    project.assert_same()
    (project.root / "link").unlink()
    (project.root / "link").symlink_to("data/up")
    project.sync()
    assert os.readlink(project.vm / "link") == "data/up"
    again = project.sync()
    assert (again.files, again.bytes) == (0, 0)


@posix_modes
def test_a_file_and_a_link_may_change_places(project: Project) -> None:
    project.write("a.txt", "a\n")
    (project.root / "b").symlink_to("a.txt")
    project.sync()
    (project.root / "b").unlink()
    project.write("b", "now a file\n")
    (project.root / "a.txt").unlink()
    (project.root / "a.txt").symlink_to("b")
    project.sync()
    project.assert_same()


def test_a_file_may_become_a_folder_and_back(project: Project) -> None:
    project.write("thing", "a file\n")
    project.sync()
    (project.root / "thing").unlink()
    project.write("thing/inside.py", "x\n")
    project.write("thing/deep/er.py", "y\n")
    project.sync()
    project.wait(lambda: project.there("thing/deep/er.py"), "the folder")
    project.assert_same()
    shutil.rmtree(project.root / "thing")
    project.write("thing", "a file again\n")
    project.sync()
    project.wait(lambda: project.there("thing") == b"a file again\n", "the file")
    project.assert_same()
    assert project.session.conflicts() == ()


def test_a_folder_that_is_renamed_is_renamed_there(project: Project) -> None:
    for number in range(10):
        project.write(f"old/sub/f{number}.py", f"{number}\n")
    project.write("other.py", "x\n")
    project.sync()
    (project.root / "old").rename(project.root / "new")
    project.wait(lambda: project.there("new/sub/f9.py"), "the new name")
    project.wait_gone("old")
    project.sync()
    project.assert_same()


def test_files_on_the_vm_that_are_not_ours_are_never_touched(project: Project) -> None:
    project.write("a.py", "a\n")
    project.sync()
    project.write_there("checkpoints/model.pt", b"\0" * 1000)
    project.write_there("notes.txt", "theirs\n")
    project.sync()
    project.save("a.py", "b\n")
    project.wait_arrived("a.py")
    project.restart()
    assert project.there("checkpoints/model.pt") == b"\0" * 1000
    assert project.there("notes.txt") == b"theirs\n"
    assert not (project.root / "notes.txt").exists()


def test_a_file_of_ours_that_is_deleted_there_is_restored(project: Project) -> None:
    project.write("a.py", "a\n")
    project.write("pkg/b.py", "b\n")
    project.sync()
    (project.vm / "a.py").unlink()
    shutil.rmtree(project.vm / "pkg")
    assert project.sync().files == 2
    project.assert_same()
    (project.vm / "a.py").unlink()
    project.save("a.py", "newer\n")
    project.wait_arrived("a.py")
    assert project.session.conflicts() == ()


def random_bytes(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def test_a_large_incompressible_file_arrives(project: Project) -> None:
    project.write("w.bin", random_bytes(5_000_000, 1))
    project.sync()
    project.assert_same()


def test_a_changed_line_in_a_large_file_costs_little(project: Project) -> None:
    content = bytearray(random_bytes(30_000_000, 2))
    project.replace("big.bin", content)
    project.sync()
    content[12_345_678:12_345_690] = b"another line"
    project.replace("big.bin", content)
    assert project.sync().bytes < 300_000
    assert project.there("big.bin") == content
    content[100:100] = b"inserted, so that all behind it moves"
    project.replace("big.bin", content)
    assert project.sync().bytes < 600_000
    assert project.there("big.bin") == content


def test_a_delta_never_lands_on_a_base_that_changed(project: Project) -> None:
    content = bytearray(random_bytes(6_000_000, 3))
    project.write("big.bin", content)
    project.sync()
    theirs = bytes(content[:3_000_000]) + b"edited there" + bytes(content[3_000_000:])
    project.write_there("big.bin", theirs)
    content[1000:1010] = b"our change"
    project.save("big.bin", bytes(content))
    conflict = project.wait_conflict("big.bin")
    assert project.there("big.bin") == theirs
    assert Path(str(conflict.remote_copy)).read_bytes() == theirs
    project.session.resolve("big.bin", "local").result(30)
    project.wait_arrived("big.bin")


def test_a_large_file_replaced_by_a_small_one_and_back(project: Project) -> None:
    project.write("x.bin", random_bytes(4_000_000, 4))
    project.sync()
    project.write("x.bin", "small")
    project.sync()
    assert project.there("x.bin") == b"small"
    project.write("x.bin", random_bytes(4_000_000, 5))
    project.sync()
    project.assert_same()


def test_a_git_checkout_of_300_files_arrives(project: Project) -> None:
    git = ["git", "-C", str(project.root), "-c", "user.name=t", "-c", "user.email=t@t"]

    def run(*argv: str) -> None:
        subprocess.run([*git, *argv], check=True, capture_output=True)

    run("init", "-q", "-b", "main")
    for number in range(300):
        project.write(f"src/d{number % 10}/f{number}.py", f"version = 1, {number}\n")
    run("add", "."), run("commit", "-qm", "one")
    run("checkout", "-qb", "two")
    for number in range(300):
        project.write(f"src/d{number % 10}/f{number}.py", f"version = 2, {number}\n")
    project.write("only_two.py", "x\n")
    run("add", "."), run("commit", "-qm", "two")
    project.sync()
    run("checkout", "-q", "main")
    wanted = {f"src/d{n % 10}/f{n}.py": b"version = 1, %d\n" % n for n in range(300)}
    project.wait(
        lambda: all(project.there(path) == data for path, data in wanted.items()),
        "300 files of the other branch",
    )
    project.wait_gone("only_two.py")
    assert not (project.vm / ".git").exists()
    assert (project.vm / CONFIG).exists()
    project.assert_same()
