"""What other tools do to the project arrives without any editor saying so."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from colab_devsync.core.events import Problem
from colab_devsync.engine.mirroring.watcher import Watcher
from tests.support.project import Project
from tests.support.unprivileged import without_powers

REPOSITORY = Path(__file__).parents[2]
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX renames")


@pytest.fixture
def watched(project: Project) -> Project:
    """A project with two files that is at rest and watched."""
    project.write("a.py", "a\n")
    project.write("pkg/b.py", "b\n")
    project.sync()
    wait_until_watched(project)
    return project


def wait_until_watched(project: Project) -> None:
    """A probe file that the watcher alone can have seen has arrived."""
    for number in range(20):  # the first ones may come before the watch stands
        probe = f"probe{number}"
        project.write(probe, "x")
        with contextlib.suppress(AssertionError):
            project.wait(lambda probe=probe: project.there(probe), "a probe", 0.5)
            break
    for left in project.root.glob("probe*"):
        left.unlink()
    project.sync()
    project.log.clear()


def test_a_written_file_arrives(watched: Project) -> None:
    watched.write("a.py", "new\n")
    watched.wait_arrived("a.py")
    assert watched.log.mirrored("a.py")


def test_nested_folders_made_and_filled_at_once_arrive(watched: Project) -> None:
    for number in range(20):
        watched.write(f"n{number}/x/y/z/deep.py", f"{number}\n")
    for number in range(20):
        watched.wait_arrived(f"n{number}/x/y/z/deep.py")


def test_a_folder_moved_in_arrives(watched: Project, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    for number in range(5):
        (outside / "sub" / f"{number}.py").write_text(f"{number}\n")
    outside.rename(watched.root / "inside")
    for number in range(5):
        watched.wait_arrived(f"inside/sub/{number}.py")


def test_a_whole_tree_moved_in_arrives_and_is_not_told_file_by_file(
    watched: Project, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for number in range(150):
        (outside / f"{number}.py").write_text(f"{number}\n")
    outside.rename(watched.root / "inside")
    for number in range(150):
        watched.wait_arrived(f"inside/{number}.py")
    watched.save("inside/7.py", "saved\n")
    watched.wait(lambda: watched.log.mirrored("inside/7.py"), "the save is told")
    assert len(watched.log.mirrored()) == 1


def test_a_folder_moved_out_is_gone_there(watched: Project, tmp_path: Path) -> None:
    (watched.root / "pkg").rename(tmp_path / "elsewhere")
    watched.wait_gone("pkg")
    assert watched.there("a.py") == b"a\n"


@posix_only
def test_a_safe_write_by_rename_arrives(watched: Project) -> None:
    for number in range(5):
        temporary = watched.write(".a.py.swp", f"version {number}\n")
        os.replace(temporary, watched.root / "a.py")
        watched.wait_arrived("a.py")
    watched.sync()
    watched.assert_same()
    assert watched.session.conflicts() == ()


def test_a_save_by_delete_and_create_never_deletes_there(watched: Project) -> None:
    for number in range(5):
        (watched.root / "a.py").unlink()
        watched.write("a.py", f"version {number}\n")
        watched.wait_arrived("a.py")
    assert watched.session.conflicts() == ()


def test_a_touch_sends_nothing(watched: Project) -> None:
    os.utime(watched.root / "a.py")
    watched.write("pkg/b.py", "after\n")  # its event comes behind that of the touch
    watched.wait_arrived("pkg/b.py")
    watched.wait_at_rest()
    assert watched.log.mirrored("a.py") == []


def test_what_git_does_inside_dot_git_is_not_sent(watched: Project) -> None:
    watched.write(".git/index", "x")
    watched.write("pkg/b.py", "after\n")
    watched.wait_arrived("pkg/b.py")
    assert not (watched.vm / ".git").exists()


@posix_only
def test_a_folder_with_a_second_name_is_mirrored_under_its_own(
    watched: Project,
) -> None:
    (watched.root / "link").symlink_to("pkg")
    (watched.root / "again").symlink_to(".")
    # The watch begins anew, and names what is in `pkg` by whichever it met last.
    watched.session.disconnect().result(30)
    watched.sync()
    wait_until_watched(watched)
    watched.write("pkg/b.py", "by another tool\n")
    watched.write("pkg/new.py", "x\n")
    watched.wait_arrived("pkg/b.py")
    watched.wait_arrived("pkg/new.py")
    watched.save("link/b.py", "by an editor that went through the link\n")
    watched.wait_arrived("pkg/b.py")
    (watched.root / "pkg/new.py").unlink()
    watched.wait_gone("pkg/new.py")
    watched.sync()
    watched.assert_same()
    assert watched.session.status().problems == ()


# --- a watch that fails -----------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="needs names that are not UTF-8")
def test_a_name_that_is_not_utf8_does_not_end_the_watch(watched: Project) -> None:
    name = os.fsencode(watched.root) + b"/bad\xff.py"
    with open(name, "wb") as stream:
        stream.write(b"x")
    named = watched.wait_problem("bad\N{REPLACEMENT CHARACTER}.py")
    assert "not UTF-8" in named.message
    watched.write("a.py", "by another tool\n")
    watched.wait_arrived("a.py")
    assert watched.session.status().problems == (named,)
    os.unlink(name)
    watched.wait(lambda: not watched.session.status().problems, "no problem")


@posix_only
def test_a_watch_that_stands_again_says_so(tmp_path: Path) -> None:
    gaps: queue.Queue[Problem | None] = queue.Queue()
    paths: queue.Queue[list[str]] = queue.Queue()
    root = tmp_path / "project"
    watcher = Watcher(root, on_paths=paths.put, on_gap=gaps.put)

    def wait_for(path: str) -> None:
        """Making it and writing into it may be told one by one."""
        while path not in paths.get(timeout=30):
            pass

    watcher.start()
    try:
        failed = gaps.get(timeout=30)
        assert failed is not None
        assert "cannot be watched" in failed.message
        root.mkdir()
        while gaps.get(timeout=30) is not None:
            pass  # it was tried once more before the folder was there
        (root / "a.py").write_text("x")
        wait_for("a.py")
        root.rename(tmp_path / "elsewhere")
        root.mkdir()  # another folder of that name
        while gaps.get(timeout=30) is not None:
            pass
        (root / "b.py").write_text("x")
        wait_for("b.py")
    finally:
        watcher.stop()


WATCHING = """
import sys
from pathlib import Path
from colab_devsync.engine.mirroring.watcher import Watcher

watcher = Watcher(
    Path(sys.argv[1]),
    on_paths=lambda paths: print(*paths, sep="\\n", flush=True),
    on_gap=lambda problem: print("gap:", problem, flush=True),
)
watcher.start()
sys.stdin.read()
"""


@contextlib.contextmanager
def watching(root: Path, *prefix: str) -> Iterator[queue.Queue[str]]:
    """What a watcher in a process of its own says, line by line."""
    said: queue.Queue[str] = queue.Queue()
    argv = [*prefix, sys.executable, "-c", WATCHING, str(root)]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY, text=True
    ) as process:
        assert process.stdout is not None
        lines = process.stdout
        reader = threading.Thread(
            target=lambda: [said.put(line.rstrip("\n")) for line in lines]
        )
        reader.start()
        try:
            yield said
        finally:
            assert process.stdin is not None
            process.stdin.close()
            reader.join(30)


@pytest.mark.skipif(sys.platform != "linux", reason="rights of files, by setpriv")
def test_a_folder_that_may_not_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    root = tmp_path / "project"
    folders = [f"{name}/inner" for name in "abcdefghij"]
    for folder in folders:
        (root / folder).mkdir(parents=True)
    closed = root / "e"
    wanted = {f"{folder}/x.py" for folder in folders if folder[0] != "e"}
    closed.chmod(0)
    try:
        with watching(root, *without_powers()) as said:
            missing = set(wanted)
            for turn in range(150):  # the first ones may come before the watch stands
                for path in missing:
                    (root / path).write_text(f"{turn}")
                with contextlib.suppress(queue.Empty):
                    while missing:
                        missing.discard(said.get(timeout=0.5))
                if not missing:
                    break
            assert missing == set()
    finally:
        closed.chmod(0o755)


@pytest.mark.skipif(sys.platform != "linux", reason="inotify has the limit")
def test_that_the_system_watches_no_more_folders_is_told(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"d{number}").mkdir()
    limit = "echo 5 > /proc/sys/user/max_inotify_watches"
    alone = ("unshare", "--user", "--map-root-user", "sh", "-c")
    if subprocess.run([*alone, limit], capture_output=True, check=False).returncode:
        pytest.skip("needs user namespaces")
    with watching(tmp_path, *alone, f'{limit} && exec "$@"', "sh") as said:
        told = said.get(timeout=60)
    assert "cannot be watched: OS file watch limit reached" in told
    assert "Raise fs.inotify.max_user_watches" in told


# --- rules ------------------------------------------------------------------------


def test_newly_ignored_files_stay_there_and_are_not_ours_any_more(
    watched: Project,
) -> None:
    watched.write("data/x.csv", "1\n")
    watched.write("data/keep.py", "x\n")
    watched.wait_arrived("data/x.csv")
    watched.write(".gitignore", "*.csv\n")
    watched.wait_arrived(".gitignore")
    watched.sync()
    files = watched.session.status().files
    watched.write("data/x.csv", "2\n")
    (watched.root / "data/x.csv").unlink()
    watched.write("data/keep.py", "y\n")
    watched.wait_arrived("data/keep.py")
    watched.sync()
    assert watched.there("data/x.csv") == b"1\n"
    assert watched.session.status().files == files
    assert watched.session.conflicts() == ()


def test_files_that_come_with_the_gitignore_for_them_stay_here(
    watched: Project,
) -> None:
    watched.write(".gitignore", "*.csv\nout/\n")
    for name in ("data.csv", "out/made.txt", "code.py"):
        watched.write(name, "x\n")
    watched.write("pkg/.gitignore", "*.bin\n")
    watched.write("pkg/model.bin", "x\n")
    watched.write("pkg/last.py", "x\n")
    for name in ("code.py", "pkg/last.py"):
        watched.wait_arrived(name)
    watched.sync()
    for name in ("data.csv", "out", "pkg/model.bin"):
        assert not (watched.vm / name).exists(), name


def test_a_nested_gitignore_rules_its_folder(watched: Project) -> None:
    watched.write("pkg/.gitignore", "local.py\n!important.log\n")
    watched.write(".gitignore", "*.log\n")
    watched.sync()
    for path in ("pkg/local.py", "local.py", "pkg/important.log", "other.log"):
        watched.write(path, "x\n")
    watched.sync()
    assert watched.there("pkg/local.py") is None
    assert watched.there("other.log") is None
    assert watched.there("local.py") == b"x\n"
    assert watched.there("pkg/important.log") == b"x\n"


def test_a_file_that_is_no_longer_ignored_arrives(watched: Project) -> None:
    watched.write(".gitignore", "secret.py\n")
    watched.sync()
    watched.write("secret.py", "x\n")
    watched.sync()
    assert watched.there("secret.py") is None
    watched.write(".gitignore", "nothing\n")
    watched.wait_arrived("secret.py")


def test_exclude_and_include(project: Project) -> None:
    project.configure(sync='exclude = ["data/", "*.bin"]\ninclude = ["keep.bin"]')
    for path in ("data/x.py", "a.bin", "keep.bin", "__pycache__/c.pyc", ".venv/p"):
        project.write(path, "x\n")
    project.sync()
    assert project.files_there() == {".colabremote.toml", "keep.bin"}


def test_a_changed_configuration_is_taken_over(watched: Project) -> None:
    watched.write("data/x.csv", "1\n")
    watched.wait_arrived("data/x.csv")
    watched.configure(sync='exclude = ["data/"]')
    watched.session.config_changed()
    watched.sync()
    watched.write("data/y.csv", "1\n")
    watched.sync()
    assert watched.there("data/y.csv") is None
    assert watched.there("data/x.csv") == b"1\n"


def test_without_watching_only_saves_and_syncs_arrive(project: Project) -> None:
    project.configure(sync="watch = false")
    project.write("a.py", "a\n")
    project.sync()
    project.write("a.py", "by a tool\n")
    project.save("b.py", "by the editor\n")
    project.wait_arrived("b.py")
    project.wait_at_rest()
    assert project.there("a.py") == b"a\n"
    project.sync()
    project.assert_same()


def test_a_folder_full_of_files_may_be_moved_over_another(watched: Project) -> None:
    for number in range(10):
        watched.write(f"new/f{number}.py", f"new {number}\n")
    watched.write("old/f0.py", "old\n")
    watched.write("old/only_old.py", "old\n")
    watched.sync()
    shutil.rmtree(watched.root / "old")
    (watched.root / "new").rename(watched.root / "old")
    watched.wait_arrived("old/f9.py")
    watched.wait_gone("new")
    watched.wait_gone("old/only_old.py")
    watched.sync()
    watched.assert_same()
