"""What can be wrong gets a clear message (what, where, next step); nothing is lost."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from colab_devsync.core.events import Problem
from colab_devsync.engine import places
from colab_devsync.engine.session import Session
from colab_devsync.errors import (
    AuthFailed,
    Busy,
    ConfigError,
    ConnectFailed,
    DevsyncError,
    HostKeyChanged,
    NotFlushed,
    RemoteRefused,
)
from colab_devsync.link.hostkeys import HostKey, pins_of
from tests.support.disks import fill, own_mount, remount, small_disk
from tests.support.ports import free_port
from tests.support.project import CONFIG, EventLog, Project
from tests.support.remotes import Login
from tests.support.sshd import Sshd
from tests.support.unprivileged import unprivileged

posix_names = pytest.mark.skipif(
    sys.platform in ("win32", "darwin"), reason="such names cannot exist here"
)


def failure(project: Project, kind: type[DevsyncError]) -> DevsyncError:
    """The error of connecting; it names a next step, and the status tells it too."""
    with pytest.raises(kind) as caught:
        project.connect()
    error = caught.value
    assert error.message
    assert error.hint
    project.wait(lambda: project.session.status().message, "a message in the status")
    return error


# --- configuration and link -------------------------------------------------------


def test_a_connect_string_that_says_nothing_changes_nothing(project: Project) -> None:
    project.connect()
    cut = "devsync://root@localhost:10022?hk=SHA256:cut"
    with pytest.raises(ConfigError, match="not complete"):
        project.session.connect(cut).result(30)
    assert project.session.status().link == "online"
    assert project.session.connect().result(30).link == "online"


def test_a_missing_configuration(project: Project) -> None:
    (project.root / CONFIG).unlink()
    error = failure(project, ConfigError)
    assert CONFIG in error.message
    assert "init" in error.hint


def test_a_broken_configuration(project: Project) -> None:
    (project.root / CONFIG).write_text("[link\nprovider = 1\n")
    with pytest.raises(ConfigError, match=CONFIG):
        project.connect()


def test_a_broken_configuration_changes_nothing_that_runs(project: Project) -> None:
    project.write("a.py", "a\n")
    project.sync()
    (project.root / CONFIG).write_text("[link\n")
    project.session.config_changed()
    project.wait(lambda: project.session.status().message, "the complaint")
    project.save("a.py", "b\n")
    project.wait_arrived("a.py")


def test_a_missing_identity_file(project: Project, tmp_path: Path) -> None:
    missing = tmp_path / "no-such-key"
    project.configure(identity_file=str(missing))
    with pytest.raises(DevsyncError, match="no-such-key") as caught:
        project.connect()
    assert caught.value.hint


def test_a_wrong_key(project: Project, tmp_path: Path) -> None:
    key = tmp_path / "stranger"
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(argv, check=True)
    project.configure(identity_file=str(key))
    failure(project, AuthFailed)
    assert project.session.status().link == "blocked"


def test_an_unreachable_host(project: Project) -> None:
    port = free_port()
    project.configure(port=port)
    error = failure(project, ConnectFailed)
    assert str(port) in error.message


def test_a_changed_host_key_is_refused(
    project: Project, make_sshd: Callable[..., Sshd]
) -> None:
    sshd = make_sshd()
    project.remote.login = Login(
        sshd.port, sshd.user, sshd.identity_file, sshd.fingerprint
    )
    project.configure()
    project.write("a.py", "a\n")
    project.sync()
    sshd.close()
    sshd.new_host_key()
    sshd.start()
    project.wait_link("blocked")
    failure(project, HostKeyChanged)
    assert project.there("a.py") == b"a\n"


def test_a_host_key_can_be_forgotten(
    project: Project, make_sshd: Callable[..., Sshd]
) -> None:
    sshd = make_sshd()
    project.remote.login = Login(
        sshd.port, sshd.user, sshd.identity_file, sshd.fingerprint
    )
    project.configure(host_key=None)
    project.answer = lambda question: "yes"
    project.connect()
    project.session.disconnect().result(30)
    sshd.close()
    sshd.new_host_key()
    sshd.start()
    error = failure(project, HostKeyChanged)
    assert "--forget-host-key" in error.hint
    project.session.forget_host_key().result(30)
    assert project.connect().link == "online"
    assert [question.kind for question in project.asked] == ["host-key", "host-key"]


def test_a_key_file_is_relative_to_the_project(
    project: Project, make_sshd: Callable[..., Sshd]
) -> None:
    sshd = make_sshd()
    key = project.root / "key"
    key.write_bytes(sshd.identity_file.read_bytes())
    key.chmod(0o600)
    project.remote.login = Login(sshd.port, sshd.user, Path("key"), sshd.fingerprint)
    project.configure()
    assert project.connect().link == "online"


def test_forgetting_the_vm_keeps_the_relays_key(project: Project) -> None:
    relay = "[2001:db8::7]:2222"
    project.configure(provider="relay", relay=f"me@{relay}", port=10022)
    pins = pins_of(places.project_state_dir(project.root, None))
    key = HostKey("ssh-ed25519", "SHA256:x")
    vm, machine = "localhost:10022 via 2001:db8::7:2222", "2001:db8::7:2222"
    pins.put(None, vm, key)
    pins.put(None, machine, key)
    project.session.forget_host_key().result(60)
    assert pins.get(None, vm) is None
    assert pins.get(None, machine) == key


# --- the VM's disk ----------------------------------------------------------------


def test_a_root_that_cannot_be_made(project: Project, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way\n")
    project.configure(vm=tmp_path / "file" / "root")
    error = failure(project, RemoteRefused)
    assert str(tmp_path / "file" / "root") in error.message
    assert "root" in error.hint


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "2m") as disk:
        yield disk


def test_a_full_disk_keeps_the_old_bytes(project: Project, disk: Path) -> None:
    project.configure(vm=disk / "root")
    project.write("a.bin", b"old" * 1000)
    project.sync()
    project.replace("a.bin", os.urandom(3_000_000))
    project.write("b.py", "b\n")
    with pytest.raises(NotFlushed, match=r"a\.bin.*disk is full") as caught:
        project.sync()
    assert caught.value.hint
    assert project.there("a.bin") == b"old" * 1000
    assert project.there("b.py") == b"b\n"
    project.write("a.bin", b"fits again")
    project.sync()
    project.assert_same()


@pytest.mark.openssh
def test_a_disk_that_has_room_again_gets_what_it_refused(
    project: Project, disk: Path
) -> None:
    """Nobody saves, nobody asks: files large and small, in all folders."""
    project.configure(vm=disk / "root")
    project.write("a.py", "old\n")
    project.sync()
    filler = fill(disk)
    files = {"a.py": b"new\n" * 2000}
    for number in range(30):
        files[f"d{number % 3}/{number}.bin"] = os.urandom(20_000)
    for path, data in files.items():
        project.write(path, data)
    with pytest.raises(NotFlushed, match="disk is full"):
        project.sync()
    assert "by itself" in project.wait_problem("a.py").hint
    assert project.there("a.py") == b"old\n"
    filler.unlink()
    project.wait(
        lambda: not project.session.status().problems, "all is well", timeout_s=90
    )
    for path, data in files.items():
        assert project.there(path) == data
    project.assert_same()


@pytest.mark.openssh
def test_a_folder_that_is_writable_again_gets_what_it_refused(
    project: Project,
) -> None:
    """What is to be deleted there, too."""
    project.write("a.py", "a\n")
    project.write("d/old.py", "old\n")
    project.write("d/gone.py", "gone\n")
    project.sync()
    folder = project.vm / "d"
    with own_mount(folder):
        remount(folder, "bind,ro")
        project.save("d/old.py", "new\n")
        project.write("d/more.py", "more\n")
        (project.root / "d" / "gone.py").unlink()
        for path in ("d/old.py", "d/more.py", "d/gone.py"):
            assert "read-only" in project.wait_problem(path).message
        project.save("a.py", "goes on\n")
        project.wait_arrived("a.py")
        remount(folder, "bind,rw")
        project.wait(
            lambda: not project.session.status().problems, "all is well", timeout_s=90
        )
        project.assert_same()
        project.close()


# --- the project's files ----------------------------------------------------------


def test_files_that_grow_and_shrink_while_they_are_sent(project: Project) -> None:
    stop = threading.Event()
    sizes = (0, 10, 300_000, 3_000_000, 5_000)

    def mutate() -> None:
        for turn in range(60):
            for number in range(3):
                data = bytes([turn]) * sizes[(turn + number) % len(sizes)]
                project.write(f"busy{number}.bin", data)
            if stop.is_set():
                return

    writer = threading.Thread(target=mutate)
    project.connect()
    writer.start()
    for _ in range(3):
        project.sync()
    stop.set()
    writer.join()
    project.sync()
    project.assert_same()
    assert project.session.conflicts() == ()


def test_files_that_vanish_while_they_are_sent(project: Project) -> None:
    for number in range(300):
        project.write(f"d/f{number}.py", f"{number}\n" * 50)
    future = project.session.sync()
    for number in range(0, 300, 30):
        (project.root / f"d/f{number}.py").unlink()
    future.result(30)
    project.sync()
    project.assert_same()


def problem_of(project: Project, match: str) -> Problem:
    found = [one for one in project.session.status().problems if match in one.message]
    assert len(found) == 1, project.session.status().problems
    assert found[0].hint
    return found[0]


def test_a_file_that_is_too_large_is_named(project: Project) -> None:
    project.configure(sync='max_file_size = "1MB"')
    project.write("big.bin", b"x" * 1_500_000)
    project.write("a.py", "a\n")
    project.sync()
    assert project.there("big.bin") is None
    assert project.there("a.py") == b"a\n"
    assert "max_file_size" in problem_of(project, "big.bin").message
    project.write("big.bin", b"small now")
    project.sync()
    project.assert_same()
    assert project.session.status().problems == ()


def test_a_link_that_leads_out_is_named(project: Project, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (project.root / "absolute").symlink_to(tmp_path / "secret")
    (project.root / "relative").symlink_to("../secret")
    project.write("a.py", "a\n")
    project.sync()
    assert project.files_there() == {CONFIG, "a.py"}
    for name in ("absolute", "relative"):
        assert "leads out" in problem_of(project, f"{name}:").message


@posix_names
def test_a_name_that_is_not_utf8_is_named(project: Project) -> None:
    name = os.fsencode(project.root) + b"/bad\xff.py"
    with open(name, "wb") as stream:
        stream.write(b"x")
    project.write("a.py", "a\n")
    project.sync()
    assert project.files_there() == {CONFIG, "a.py"}
    assert "not UTF-8" in problem_of(project, "bad\N{REPLACEMENT CHARACTER}").message
    project.save("a.py", "still works\n")
    project.wait_arrived("a.py")


def test_names_that_differ_only_in_case_both_arrive(project: Project) -> None:
    project.write("Model.py", "upper\n")
    project.write("model.py", "lower\n")
    if len(list(project.root.glob("[Mm]odel.py"))) < 2:
        pytest.skip("this file system knows no case")
    project.sync()
    project.assert_same()
    problem = problem_of(project, "differ only in case")
    assert "Model.py" in problem.message
    assert "model.py" in problem.message
    assert problem.severity == "warning"
    (project.root / "Model.py").unlink()
    project.sync()
    assert project.there("model.py") == b"lower\n"
    assert project.session.status().problems == ()


@posix_names
def test_names_that_differ_only_in_their_unicode_form(project: Project) -> None:
    composed, split = (unicodedata.normalize(form, "é.py") for form in ("NFC", "NFD"))
    project.write(composed, "one\n")
    project.write(split, "two\n")
    project.sync()
    project.assert_same()
    problem_of(project, "differ only in case or accents")


def test_a_name_that_is_too_long_for_the_vm_is_refused_before_it_leaves(
    project: Project,
) -> None:
    with pytest.raises(OSError, match="name too long"):
        project.write("n" * 300, "x")
    deep = "/".join(["folder" * 10] * 20) + "/file.py"
    project.write(deep, "x\n")
    project.sync()
    project.assert_same()


@posix_names
def test_a_file_that_cannot_be_read_is_named(project: Project) -> None:
    project.configure(sync="watch = false")  # nobody looks before the rights are gone
    project.sync()
    project.write("closed.py", "x\n").chmod(0)
    with (
        unprivileged(project.root),
        pytest.raises(NotFlushed, match=r"closed\.py.*cannot be read"),
    ):
        project.sync()


# --- two at once ------------------------------------------------------------------


@pytest.fixture
def other(project: Project, tmp_path: Path) -> Iterator[Project]:
    """Another project folder that wants the same folder on the VM."""
    other = Project(project.remote, tmp_path / "other")
    yield other
    other.close()


def test_a_second_client_is_told_who_is_there(project: Project, other: Project) -> None:
    project.write("a.py", "ours\n")
    project.sync()
    other.write("a.py", "theirs\n")
    error = failure(other, Busy)
    assert socket.gethostname() in error.message
    assert "Disconnect there" in error.hint
    assert project.there("a.py") == b"ours\n"
    project.close()
    assert other.sync().conflicts == 1
    assert other.there("a.py") == b"ours\n"


def test_a_newer_session_of_the_same_client_takes_over(project: Project) -> None:
    project.write("a.py", "old\n")
    project.sync()
    log = EventLog()
    newer = Session(project.root, profile=None, emit=log, ask=lambda one: one.safe)
    try:
        newer.sync().result(30)
        project.save("a.py", "saved\n")
        newer.saved(project.root / "a.py")
        status = project.wait_link("blocked")
        assert "took the remote folder over" in str(status.message)
        log.wait(lambda: project.there("a.py") == b"saved\n", "the save")
        assert newer.conflicts() == ()
    finally:
        newer.close()
