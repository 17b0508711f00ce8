"""What is deleted here is deleted there; what looks like an accident is asked about."""

from __future__ import annotations

import shutil
import sys
import threading
from pathlib import Path

import pytest

from colab_devsync.core.events import Question
from colab_devsync.errors import ConfigError, UnsafePlan
from tests.support.project import CONFIG, Project
from tests.support.unprivileged import unprivileged

MANY = 40


@pytest.fixture
def filled(project: Project) -> Project:
    """40 files in data/, 20 in pkg/, mirrored."""
    for number in range(MANY):
        project.write(f"data/f{number}.txt", f"{number}\n")
    for number in range(20):
        project.write(f"pkg/m{number}.py", f"{number}\n")
    project.sync()
    return project


def yes(question: Question) -> str:
    return "yes"


def data_there(project: Project) -> int:
    return len([path for path in project.files_there() if path.startswith("data/")])


def wait_halted(project: Project) -> None:
    problem = project.wait_problem("")
    assert problem.severity == "error"
    assert "held back" in problem.message
    assert problem.hint


def test_a_single_file(filled: Project) -> None:
    (filled.root / "pkg/m0.py").unlink()
    filled.wait_gone("pkg/m0.py")
    assert filled.asked == []
    assert (filled.vm / "pkg/m1.py").exists()


def test_a_check_tells_what_would_be_deleted_there(project: Project) -> None:
    for name in ("gone.py", "changed_there.py", "changed_here.py", "same.py"):
        project.write(name, f"{name}\n")
    project.sync()
    project.close()
    (project.root / "gone.py").unlink()
    (project.root / "changed_there.py").unlink()
    project.write_there("changed_there.py", "this would be a conflict\n")
    project.write("changed_here.py", "new\n")
    checked = project.sync(check=True)
    assert checked.paths == ("changed_here.py", "changed_there.py", "gone.py")
    assert checked.deletions == ("gone.py",)
    assert checked.deleted == 1


def test_a_folder_and_the_empty_folder_it_leaves(filled: Project) -> None:
    filled.write("small/x/a.py", "a\n")
    filled.write("small/x/b.py", "b\n")
    filled.sync()
    shutil.rmtree(filled.root / "small")
    filled.wait_gone("small")
    assert filled.asked == []


def test_the_folder_stays_if_it_holds_files_that_are_not_ours(filled: Project) -> None:
    filled.write("small/a.py", "a\n")
    filled.sync()
    filled.write_there("small/output.log", "theirs\n")
    shutil.rmtree(filled.root / "small")
    filled.wait_gone("small/a.py")
    assert filled.there("small/output.log") == b"theirs\n"


def test_a_sync_counts_deletions(filled: Project) -> None:
    filled.session.disconnect().result(30)
    for number in range(5):
        (filled.root / f"pkg/m{number}.py").unlink()
    assert filled.sync().deleted == 5
    filled.assert_same()


def test_many_are_asked_about_and_go_after_a_yes(filled: Project) -> None:
    filled.answer = yes
    shutil.rmtree(filled.root / "data")
    filled.wait_gone("data")
    [question] = filled.asked
    assert question.kind == "mass-delete"
    assert question.safe == "no"
    assert "40" in question.text
    assert filled.session.status().problems == ()
    assert filled.sync().deleted == 0


def test_many_stay_after_a_no_and_the_status_says_so(filled: Project) -> None:
    shutil.rmtree(filled.root / "data")
    wait_halted(filled)
    assert data_there(filled) == MANY
    with pytest.raises(UnsafePlan, match="40") as caught:
        filled.sync()
    assert caught.value.hint
    assert data_there(filled) == MANY


def test_no_then_yes_with_the_next_sync(filled: Project) -> None:
    shutil.rmtree(filled.root / "data")
    wait_halted(filled)
    filled.answer = yes
    filled.sync()
    filled.wait_gone("data")
    assert filled.session.status().problems == ()


def test_files_that_come_back_end_the_halt(filled: Project, tmp_path: Path) -> None:
    (filled.root / "data").rename(tmp_path / "away")
    wait_halted(filled)
    (tmp_path / "away").rename(filled.root / "data")
    assert filled.sync().deleted == 0
    filled.assert_same()
    assert filled.session.status().problems == ()


def test_saves_go_on_while_deletions_are_asked_about(filled: Project) -> None:
    answered = threading.Event()

    def slow(question: Question) -> str:
        answered.wait(30)
        return "no"

    filled.answer = slow
    shutil.rmtree(filled.root / "data")
    filled.wait(lambda: filled.asked, "the question")
    filled.save("pkg/m0.py", "saved meanwhile\n")
    filled.wait_arrived("pkg/m0.py")
    assert data_there(filled) == MANY
    answered.set()
    wait_halted(filled)


def test_an_answer_that_comes_too_late_deletes_nothing_that_is_back(
    filled: Project, tmp_path: Path
) -> None:
    answered = threading.Event()

    def slow(question: Question) -> str:
        answered.wait(30)
        return "yes"

    filled.answer = slow
    (filled.root / "data").rename(tmp_path / "away")
    filled.wait(lambda: filled.asked, "the question")
    (tmp_path / "away").rename(filled.root / "data")
    answered.set()
    filled.sync()
    assert data_there(filled) == MANY
    filled.assert_same()


def test_an_emptied_project_deletes_nothing(filled: Project) -> None:
    for path in list(filled.root.iterdir()):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    wait_halted(filled)
    assert len(filled.files_there()) == 61


def test_a_missing_project_deletes_nothing(filled: Project, tmp_path: Path) -> None:
    before = filled.files_there()
    filled.root.rename(tmp_path / "moved")
    with pytest.raises((UnsafePlan, ConfigError)) as caught:
        filled.sync()
    assert caught.value.hint
    assert filled.files_there() == before
    (tmp_path / "moved").rename(filled.root)
    assert filled.sync().deleted == 0
    filled.assert_same()


def test_another_folder_in_the_projects_place_deletes_nothing(
    filled: Project, tmp_path: Path
) -> None:
    filled.close()
    before = filled.files_there()
    filled.root.rename(tmp_path / "moved")
    filled.root.mkdir()
    shutil.copy(tmp_path / "moved" / CONFIG, filled.root / CONFIG)
    for number in range(19):
        filled.write(f"pkg/m{number}.py", f"{number}\n")
    for number in range(MANY):
        filled.write(f"data/f{number}.txt", f"{number}\n")
    with pytest.raises(UnsafePlan, match="replaced"):
        filled.sync()
    assert filled.files_there() == before
    filled.answer = yes
    assert filled.sync().deleted == 1
    filled.assert_same()


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions")
def test_a_folder_that_cannot_be_read_deletes_nothing(filled: Project) -> None:
    (filled.root / "data").chmod(0)
    try:
        with (
            unprivileged(filled.root),
            pytest.raises(UnsafePlan, match="could not be read"),
        ):
            filled.sync()
        assert data_there(filled) == MANY
    finally:
        (filled.root / "data").chmod(0o755)


def test_files_deleted_while_nothing_ran(filled: Project) -> None:
    filled.close()
    for number in range(3):
        (filled.root / f"pkg/m{number}.py").unlink()
    assert filled.sync().deleted == 3
    filled.assert_same()


def test_a_file_that_was_deleted_and_made_again_stays(filled: Project) -> None:
    filled.session.disconnect().result(30)
    (filled.root / "pkg/m0.py").unlink()
    filled.write("pkg/m0.py", "again\n")
    filled.sync()
    assert filled.there("pkg/m0.py") == b"again\n"
