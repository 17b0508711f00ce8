"""Files of the VM come home: finished ones, whole, the newest first."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from colab_devsync.core.events import Progress, PullsChanged
from colab_devsync.core.pushing import PushSpec
from colab_devsync.errors import ConfigError, NotPulled
from tests.support.project import Project
from tests.support.proxy import ChaosProxy
from tests.support.pulls import BIG, Pulling, noise, rule
from tests.support.remotes import Login
from tests.support.sshd import Sshd


@pytest.fixture
def pulling(project: Project) -> Pulling:
    project.configure(more=rule('["*.pt", "*.log", "!skip*"]'))
    return Pulling(project)


def test_what_is_there_and_what_comes_later(pulling: Pulling) -> None:
    big = noise(BIG)
    pulling.put("a.pt", b"small")
    pulling.put("deep/big.pt", big, mtime_ns=10**18 + 7)
    pulling.put("notes.txt", b"not included")
    pulling.put("skip.pt", b"taken back")
    pulling.project.connect()
    pulling.wait("a.pt", b"small")
    pulling.wait("deep/big.pt", big)
    assert (pulling.here / "deep/big.pt").stat().st_mtime_ns == 10**18 + 7
    pulling.put("later.pt", b"later")
    pulling.wait("later.pt", b"later")
    pulling.until(lambda: pulling.info().here == 3, "the status knows")
    assert pulling.files() == {"a.pt", "deep/big.pt", "later.pt"}
    assert sorted(pulling.pulled()) == ["a.pt", "deep/big.pt", "later.pt"]
    assert pulling.info().newest == "later.pt"
    assert any(isinstance(one, PullsChanged) for one in pulling.project.log.events)


def test_a_pull_by_hand_tells_what_came(pulling: Pulling) -> None:
    pulling.put("a.pt", b"1234")
    assert pulling.pull() == (1, 4)
    assert pulling.pull() == (0, 0)


def test_what_is_pulled_is_not_mirrored_back(pulling: Pulling) -> None:
    pulling.put("a.pt", b"1")
    pulling.pull()
    (pulling.here / "a.pt").unlink()
    pulling.project.sync()
    assert (pulling.there / "a.pt").read_bytes() == b"1"
    pulling.project.write("checkpoints/mine.pt", "mine")
    pulling.project.sync()
    assert not (pulling.there / "mine.pt").exists()


def test_a_file_is_left_alone_while_it_is_written(pulling: Pulling) -> None:
    pulling.project.connect()
    pulling.there.mkdir()
    with open(pulling.there / "slow.pt", "wb") as stream:
        for piece in range(3):
            stream.write(noise(100_000, piece))
            stream.flush()
            # Whatever was finished is here after this; the half file is not.
            pulling.pull()
            assert pulling.read("slow.pt") is None
            assert pulling.info().writing == 1
    whole = (pulling.there / "slow.pt").read_bytes()
    pulling.wait("slow.pt", whole)
    pulling.until(lambda: pulling.pulled() == ["slow.pt"], "it is told, once")


def test_a_log_comes_while_it_is_written(pulling: Pulling) -> None:
    pulling.project.connect()
    pulling.there.mkdir()
    with open(pulling.there / "train.log", "ab") as stream:
        for number in range(3):
            stream.write(b"step %d\n" % number)
            stream.flush()
            written = (pulling.there / "train.log").read_bytes()
            pulling.wait("train.log", written)


def test_of_a_longer_file_only_the_end_travels(pulling: Pulling) -> None:
    log = noise(BIG)
    pulling.put("a.log", log)
    pulling.pull()
    inode = (pulling.there / "a.log").stat().st_ino
    with open(pulling.there / "a.log", "ab") as stream:
        stream.write(b"one more line\n")
    assert (pulling.there / "a.log").stat().st_ino == inode
    pulling.wait("a.log", log + b"one more line\n")


def test_a_beginning_that_changed_is_not_kept(pulling: Pulling) -> None:
    log = noise(BIG)
    pulling.put("a.log", log)
    pulling.pull()
    with open(pulling.there / "a.log", "r+b") as stream:
        stream.write(b"another beginning")
        stream.seek(0, os.SEEK_END)
        stream.write(b"and a new end")
    pulling.wait("a.log", (pulling.there / "a.log").read_bytes())


def test_the_newest_are_kept_and_only_ours_are_dropped(project: Project) -> None:
    project.configure(more=rule(more="keep = 2"))
    pulling = Pulling(project)
    project.write("checkpoints/mine.pt", "not pulled")
    for name in "abcd":  # of equal age: by name, always the same
        pulling.put(f"{name}.pt", name.encode(), mtime_ns=10**18)
    pulling.put("old.pt", b"old", mtime_ns=10**17)
    pulling.pull()
    assert pulling.files() == {"a.pt", "b.pt", "mine.pt"}
    assert pulling.info().only_there == 3
    pulling.put("new.pt", b"new", mtime_ns=2 * 10**18)
    pulling.wait("new.pt", b"new")
    pulling.until(lambda: pulling.info().here == 2, "one is dropped")
    assert pulling.files() == {"new.pt", "a.pt", "mine.pt"}
    pulling.pull()
    assert pulling.files() == {"new.pt", "a.pt", "mine.pt"}


def test_a_kept_file_that_was_changed_here_is_not_deleted(project: Project) -> None:
    project.configure(more=rule(more="keep = 1"))
    pulling = Pulling(project)
    pulling.put("a.pt", b"a", mtime_ns=10**18)
    pulling.pull()
    (pulling.here / "a.pt").write_bytes(b"changed here")
    pulling.put("b.pt", b"b", mtime_ns=10**18 + 1)
    pulling.wait("b.pt", b"b")
    pulling.until(lambda: pulling.info().here == 1, "a is not counted any more")
    assert pulling.read("a.pt") == b"changed here"


def test_nothing_that_is_not_ours_is_overwritten(pulling: Pulling) -> None:
    for name, data in (("small.pt", b"theirs"), ("large.pt", noise(BIG))):
        pulling.project.write(f"checkpoints/{name}", "mine")
        pulling.put(name, data)
    pulling.pull()
    assert pulling.read("small.pt") == pulling.read("large.pt") == b"mine"
    assert pulling.read("small.from-vm.pt") == b"theirs"
    assert pulling.read("large.from-vm.pt") == noise(BIG)
    problem = pulling.project.wait_problem("checkpoints/small.pt")
    assert "small.from-vm.pt" in problem.message
    pulling.put("small.pt", b"newer")
    pulling.wait("small.from-vm.pt", b"newer")
    assert pulling.read("small.pt") == b"mine"
    (pulling.here / "small.pt").unlink()
    pulling.put("small.pt", b"at last")
    pulling.wait("small.pt", b"at last")


def test_the_same_file_here_already_is_taken_over(pulling: Pulling) -> None:
    data = noise(BIG)
    pulling.project.write("checkpoints/a.pt", data)
    pulling.put("a.pt", data, mtime_ns=10**18)
    pulling.pull()
    assert pulling.files() == {"a.pt"}
    assert (pulling.here / "a.pt").stat().st_mtime_ns == 10**18


def test_what_was_deleted_here_comes_back_only_when_asked(pulling: Pulling) -> None:
    pulling.put("a.pt", b"a")
    pulling.pull()
    (pulling.here / "a.pt").unlink()
    pulling.put("b.pt", b"b")
    pulling.wait("b.pt", b"b")
    assert pulling.read("a.pt") is None
    pulling.pull()
    assert pulling.read("a.pt") == b"a"


def test_a_folder_that_is_not_there_yet_is_waited_for(pulling: Pulling) -> None:
    assert pulling.pull() == (0, 0)
    info = pulling.info()
    assert (info.state, info.here) == ("waiting", 0)
    assert "is not there yet" in (info.message or "")
    pulling.put("a.pt", b"a")
    pulling.wait("a.pt", b"a")
    pulling.until(lambda: pulling.info().state == "watching", "it is watched")


def test_links_inside_are_followed_and_others_named(pulling: Pulling) -> None:
    data = noise(BIG)
    pulling.put("epoch=1.pt", data)
    os.symlink("epoch=1.pt", pulling.there / "last.pt")
    os.symlink("/etc/hostname", pulling.there / "out.pt")
    os.symlink("nowhere", pulling.there / "broken.pt")
    os.symlink("loop.pt", pulling.there / "loop.pt")
    os.symlink(".", pulling.there / "again")
    os.link(pulling.there / "epoch=1.pt", pulling.there / "hard.pt")
    pulling.pull()
    assert pulling.read("last.pt") == pulling.read("hard.pt") == data
    assert pulling.files() == {"epoch=1.pt", "last.pt", "hard.pt"}
    problem = pulling.project.wait_problem("checkpoints/out.pt")
    assert "symbolic link" in problem.message
    pulling.project.wait_problem("checkpoints/broken.pt")
    pulling.project.wait_problem("checkpoints/loop.pt")


def test_many_small_files(pulling: Pulling) -> None:
    pulling.there.mkdir()
    for number in range(500):
        (pulling.there / f"{number}.pt").write_bytes(b"%d" % number)
    assert pulling.pull()[0] == 500
    assert all(pulling.read(f"{n}.pt") == b"%d" % n for n in range(500))


@pytest.mark.openssh
def test_thousands_of_tiny_files_both_ways(
    project: Project, proxy: ChaosProxy, tmp_path: Path
) -> None:
    """Many in a message: their names and hashes travel, and hardly anything else."""
    count = 2500
    project.configure(port=proxy.port, more=rule())
    pulling = Pulling(project)
    pulling.there.mkdir()
    for number in range(count):
        (pulling.there / f"{number}.pt").write_bytes(b"%d" % number)
    project.connect()
    seen: list[Progress] = []
    before = proxy.counts()
    done = project.session.pulls.pull(progress=seen.append).result(120)
    spent = proxy.counts()
    assert done.files == count
    assert spent.up - before.up < 300 * count
    assert spent.down - before.down < 300 * count
    assert seen[-1].files_total == count
    steps = [one.files for one in seen]
    assert steps == sorted(steps)
    assert len(os.listdir(pulling.here)) == count

    spec = PushSpec(pulling.here, str(tmp_path / "there"))
    pushed = project.session.pushes.start(spec, progress=seen.append).result(120)
    assert (pushed.files, seen[-1].files, seen[-1].files_total) == (count,) * 3
    assert proxy.counts().up - spent.up < 400 * count
    for number in range(count):
        assert (tmp_path / "there" / f"{number}.pt").read_bytes() == b"%d" % number


def test_holes_stay_holes(pulling: Pulling) -> None:
    pulling.there.mkdir()
    with open(pulling.there / "sparse.pt", "wb") as stream:
        stream.seek(500_000_000)
        stream.write(b"end")
    pulling.pull()
    about = (pulling.here / "sparse.pt").stat()
    assert about.st_size == 500_000_003
    assert about.st_blocks * 512 < 50_000_000


def test_a_disk_that_is_too_small_is_named(pulling: Pulling) -> None:
    pulling.there.mkdir()
    with open(pulling.there / "huge.pt", "wb") as stream:
        stream.truncate(10**13)
    pulling.put("small.pt", b"fits")
    with pytest.raises(NotPulled, match=r"huge\.pt.*the disk here has"):
        pulling.pull()
    assert pulling.read("small.pt") == b"fits"
    assert pulling.info().state == "failed"
    (pulling.there / "huge.pt").unlink()
    pulling.pull()
    assert pulling.info().state == "watching"


def test_a_file_in_the_place_of_the_folder_is_named(pulling: Pulling) -> None:
    pulling.there.write_bytes(b"")
    with pytest.raises(NotPulled, match="it is a file, not a folder"):
        pulling.pull()


def test_a_folder_here_that_is_a_file_is_named(pulling: Pulling) -> None:
    pulling.project.write("checkpoints", "a file")
    pulling.put("a.pt", b"a")
    pulling.put("big.pt", noise(BIG))
    with pytest.raises(NotPulled, match="checkpoints"):
        pulling.pull()


def test_a_file_here_where_a_folder_is_needed_is_named(pulling: Pulling) -> None:
    pulling.project.write("checkpoints/deep", "mine")
    pulling.put("deep/a.pt", b"a")
    with pytest.raises(NotPulled, match="a file stands here where the VM has a folder"):
        pulling.pull()
    assert pulling.read("deep") == b"mine"


def test_unknown_rules_and_none(pulling: Pulling, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no pull rule 'other'"):
        pulling.project.session.pulls.pull("other").result(30)
    pulling.project.configure()
    with pytest.raises(ConfigError, match="no pull rule in the configuration"):
        pulling.project.session.pulls.pull().result(30)


def test_a_rule_that_is_added_while_online(pulling: Pulling) -> None:
    pulling.project.configure()
    pulling.put("a.pt", b"a")
    pulling.project.connect()
    assert pulling.project.session.status().pulls == ()
    pulling.project.configure(more=rule())
    pulling.project.session.config_changed()
    pulling.wait("a.pt", b"a")


def test_a_session_that_pulls_is_in_use(pulling: Pulling) -> None:
    assert not pulling.project.session.is_in_use
    pulling.pull()
    pulling.until(lambda: pulling.project.session.is_in_use, "it is needed")
    ended = pulling.project.session.disconnect().result(30)
    assert [one.state for one in ended.pulls] == ["offline"]
    again = pulling.project.session.connect().result(30)
    assert [one.state for one in again.pulls] in (["watching"], ["waiting"])


@pytest.mark.openssh
def test_a_server_that_refuses_forwards(
    project: Project, make_sshd: Callable[..., Sshd]
) -> None:
    sshd = make_sshd(forwarding=False)
    project.remote.login = Login(
        sshd.port, sshd.user, sshd.identity_file, sshd.fingerprint
    )
    project.configure(more=rule())
    pulling = Pulling(project)
    pulling.put("a.pt", noise(BIG))
    pulling.put("b.pt", b"small")
    assert pulling.pull() == (2, BIG + 5)
    assert pulling.read("a.pt") == noise(BIG)
