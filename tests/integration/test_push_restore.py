"""Pulled checkpoints go back to a VM that has lost them; nothing there is replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from colab_devsync.core.events import Question
from colab_devsync.core.pushing import PushResult
from colab_devsync.errors import ConfigError
from tests.integration.test_push import PUSH_S
from tests.support.project import Project

RULE = '[[pull]]\nremote = "out/checkpoints"\nlocal = "ckpt"\nevery = 1\n'
NAMES = ("epoch1.pt", "best/model.pt")


def restore(project: Project, name: str | None = None) -> PushResult:
    return project.session.pushes.restore(name).result(PUSH_S)


@pytest.fixture
def pulled(project: Project) -> Project:
    """Two checkpoints came home from the first VM."""
    project.configure(more=RULE)
    for number, name in enumerate(NAMES):
        project.write_there(f"out/checkpoints/{name}", name.encode() * 50_000)
        stamp = 10**18 + number
        os.utime(project.vm / "out/checkpoints" / name, ns=(stamp, stamp))
    project.connect()
    project.session.pulls.pull().result(PUSH_S)
    assert (project.root / "ckpt/best/model.pt").exists()
    return project


def replace_vm(project: Project, tmp_path: Path, rule: str = RULE) -> None:
    project.close()
    (tmp_path / "vm2").mkdir()
    project.configure(more=rule, vm=tmp_path / "vm2")


def test_a_new_vm_gets_them_back_when_asked_for(
    pulled: Project, tmp_path: Path
) -> None:
    assert not [one for one in pulled.session.status().problems if "new VM" in one.hint]
    replace_vm(pulled, tmp_path)
    (offer,) = [one for one in pulled.connect().problems if "new VM" in one.message]
    assert "2 pulled files are here" in offer.message
    assert "push --checkpoints" in offer.hint
    assert pulled.there("out/checkpoints/epoch1.pt") is None  # not by itself

    done = restore(pulled)
    assert (done.files, done.skipped) == (2, ())
    for number, name in enumerate(NAMES):
        assert pulled.there(f"out/checkpoints/{name}") == name.encode() * 50_000
        about = (pulled.vm / "out/checkpoints" / name).stat()
        assert about.st_mtime_ns == 10**18 + number
    again = restore(pulled, "ckpt")
    assert (again.files, again.same, again.sent) == (0, 2, 0)
    pulled.wait(
        lambda: not [p for p in pulled.session.status().problems if p == offer],
        "the offer is gone",
    )


def test_other_files_there_are_asked_about_and_stay(
    pulled: Project, tmp_path: Path
) -> None:
    # Else the newer one would come home by itself.
    replace_vm(pulled, tmp_path, RULE + 'include = ["*.onnx"]\n')
    pulled.write_there("out/checkpoints/epoch1.pt", b"a newer one")
    done = restore(pulled)
    (question,) = [one for one in pulled.asked if one.kind == "overwrite"]
    assert "epoch1.pt" in question.text
    assert done.files == 1
    assert [one.path for one in done.skipped] == ["epoch1.pt"]
    assert pulled.there("out/checkpoints/epoch1.pt") == b"a newer one"

    def replace(question: Question) -> str:
        return question.choices[0]

    pulled.answer = replace
    assert restore(pulled).replaced == ("epoch1.pt",)
    assert pulled.there("out/checkpoints/epoch1.pt") == b"epoch1.pt" * 50_000


def test_what_was_changed_here_is_left_out_and_named(
    pulled: Project, tmp_path: Path
) -> None:
    replace_vm(pulled, tmp_path)
    pulled.write("ckpt/epoch1.pt", b"edited")
    done = restore(pulled)
    assert done.files == 1
    (left_out,) = done.skipped
    assert str(left_out) == "epoch1.pt: it was changed here since it was pulled"
    assert pulled.there("out/checkpoints/epoch1.pt") is None

    pulled.write("ckpt/best/model.pt", b"edited")
    nothing = restore(pulled)
    assert (nothing.target, nothing.files, len(nothing.skipped)) == ("", 0, 2)


def test_what_is_older_than_what_goes_back_is_not_named(
    pulled: Project, tmp_path: Path
) -> None:
    replace_vm(pulled, tmp_path, RULE + "keep = 1\n")
    pulled.write("ckpt/epoch1.pt", b"edited")
    done = restore(pulled)
    assert (done.files, done.skipped) == (1, ())
    assert pulled.there("out/checkpoints/best/model.pt") is not None


def test_rules_that_are_not_there(project: Project) -> None:
    with pytest.raises(ConfigError, match="no pull rule"):
        restore(project)
    project.configure(more=RULE)
    project.session.config_changed()
    with pytest.raises(ConfigError, match="no pull rule 'x'"):
        restore(project, "x")
    assert restore(project).files == 0
