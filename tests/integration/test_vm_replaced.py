"""Another VM, or another folder on it, is filled again and never causes a delete."""

from __future__ import annotations

import os
import shutil

import pytest

from colab_devsync.core.events import Question
from colab_devsync.errors import UnsafePlan
from tests.support.files import remove_tree
from tests.support.project import Project

COUNT = 30


@pytest.fixture
def filled(project: Project) -> Project:
    for number in range(COUNT):
        project.write(f"pkg/m{number}.py", f"{number}\n")
    project.sync()
    return project


def wipe(project: Project) -> None:
    remove_tree(project.vm)
    project.vm.mkdir()


def test_a_wiped_vm_is_filled_again(filled: Project) -> None:
    filled.close()
    wipe(filled)
    result = filled.sync()
    assert (result.files, result.deleted) == (COUNT + 1, 0)
    filled.assert_same()
    assert filled.session.conflicts() == ()


def test_a_root_that_is_not_there_is_made(filled: Project) -> None:
    filled.close()
    remove_tree(filled.vm)
    filled.sync()
    filled.assert_same()


@pytest.mark.parametrize("how", ["emptied", "removed"])
def test_a_root_that_goes_while_we_are_online_is_filled_again(
    filled: Project, how: str
) -> None:
    """As after `rm -rf` in a terminal of the VM: without anybody connecting anew."""
    if how == "emptied":
        wipe(filled)
    else:
        remove_tree(filled.vm)
    filled.save("pkg/m0.py", "new\n")
    filled.wait_arrived("pkg/m0.py")
    assert filled.sync().conflicts == 0
    filled.assert_same()
    assert filled.asked == []


@pytest.mark.parametrize("what", ["", ".colab-devsync"])
def test_a_sync_finds_what_has_gone_meanwhile(filled: Project, what: str) -> None:
    remove_tree(filled.vm / what)
    result = filled.sync()
    assert (result.deleted, result.conflicts) == (0, 0)
    filled.assert_same()
    filled.save("pkg/m0.py", "new\n")
    filled.wait_arrived("pkg/m0.py")


def test_what_was_deleted_here_meanwhile_is_no_debt(filled: Project) -> None:
    filled.close()
    wipe(filled)
    shutil.rmtree(filled.root / "pkg")
    filled.write("only.py", "x\n")
    result = filled.sync()
    assert (result.files, result.deleted) == (2, 0)
    assert filled.asked == []


def test_files_another_vm_holds_already_are_adopted_unsent(filled: Project) -> None:
    filled.close()
    remove_tree(filled.vm / ".colab-devsync")
    result = filled.sync()
    assert (result.files, result.bytes, result.conflicts) == (0, 0, 0)
    filled.save("pkg/m0.py", "new\n")
    filled.wait_arrived("pkg/m0.py")
    (filled.root / "pkg/m1.py").unlink()
    filled.wait_gone("pkg/m1.py")


def test_files_another_vm_holds_differently_are_conflicts(filled: Project) -> None:
    filled.close()
    remove_tree(filled.vm / ".colab-devsync")
    filled.write_there("pkg/m0.py", "somebody else's\n")
    filled.write_there("stranger.txt", "x\n")
    result = filled.sync()
    assert (result.files, result.deleted, result.conflicts) == (0, 0, 1)
    filled.wait_conflict("pkg/m0.py")
    assert filled.there("pkg/m0.py") == b"somebody else's\n"
    assert filled.there("stranger.txt") == b"x\n"


def test_a_lost_state_here_adopts_what_is_there(filled: Project) -> None:
    filled.close()
    shutil.rmtree(os.environ["COLAB_DEVSYNC_STATE_DIR"])
    filled.write("pkg/new.py", "new\n")
    result = filled.sync()
    assert (result.files, result.conflicts) == (1, 0)
    filled.assert_same()


def test_another_root_in_the_configuration_is_another_vm(filled: Project) -> None:
    first = filled.vm
    other = first.parent / "other-vm"
    filled.configure(vm=other)
    filled.session.config_changed()
    filled.sync()
    filled.assert_same()
    assert len(list((first / "pkg").iterdir())) == COUNT


# --- replica ----------------------------------------------------------------------


@pytest.fixture
def replica(project: Project) -> Project:
    project.configure(sync='mode = "replica"\nexclude = ["kept/"]')
    for number in range(COUNT):
        project.write(f"pkg/m{number}.py", f"{number}\n")
    project.sync()
    return project


def yes(question: Question) -> str:
    return "yes"


def test_a_replica_deletes_extras_but_never_ignored_ones(replica: Project) -> None:
    replica.write_there("extra.txt", "x\n")
    replica.write_there("deep/er/extra.txt", "x\n")
    replica.write_there("kept/model.pt", "x\n")
    replica.write_there("pkg/__pycache__/m.pyc", "x\n")
    assert replica.sync().deleted == 2
    assert replica.there("extra.txt") is None
    assert not (replica.vm / "deep").exists()
    assert replica.there("kept/model.pt") == b"x\n"
    assert replica.there("pkg/__pycache__/m.pyc") == b"x\n"


def test_a_replica_asks_before_it_deletes_many(replica: Project) -> None:
    for number in range(40):
        replica.write_there(f"results/r{number}.txt", "x\n")
    with pytest.raises(UnsafePlan):
        replica.sync()
    assert len(list((replica.vm / "results").iterdir())) == 40
    replica.answer = yes
    assert replica.sync().deleted == 40
    assert not (replica.vm / "results").exists()


def test_a_replica_of_a_root_full_of_strangers_asks_first(project: Project) -> None:
    for number in range(40):
        project.write_there(f"home/h{number}.txt", "theirs\n")
    project.configure(sync='mode = "replica"')
    project.write("a.py", "a\n")
    with pytest.raises(UnsafePlan):
        project.sync()
    assert len(list((project.vm / "home").iterdir())) == 40
    assert project.there("a.py") == b"a\n"
