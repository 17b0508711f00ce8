"""`setup pycharm --upload-by pycharm`: another program puts saved files on the VM, and
we only make sure of it before a run. `watch = false` is what it asks for."""

from __future__ import annotations

from tests.support.project import Project

OFF = "watch = false"


def test_what_the_other_one_uploaded_is_not_sent_and_no_conflict(
    project: Project,
) -> None:
    project.configure(sync=OFF)
    project.write("train.py", "one\n")
    assert project.sync().files == 2
    for text in ("two\n", "three\n"):
        project.write("train.py", text)
        project.write_there("train.py", text)
        done = project.sync()
        assert (done.conflicts, done.deleted) == (0, 0)
    assert project.session.conflicts() == ()
    project.assert_same()


def test_half_an_upload_is_a_conflict_only_until_it_is_whole(project: Project) -> None:
    project.configure(sync=OFF)
    project.write("train.py", "one\n")
    project.sync()
    project.write("train.py", "two and three\n")
    project.write_there("train.py", "two and")
    assert project.sync().conflicts == 1
    assert project.there("train.py") == b"two and"
    project.write_there("train.py", "two and three\n")
    assert project.sync().conflicts == 0
    assert project.session.conflicts() == ()
