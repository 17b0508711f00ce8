"""What an earlier VM's night has brought stays, whatever a new VM writes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from colab_devsync.engine import places
from tests.support.project import Project
from tests.support.pulls import BIG, Pulling, noise, rule

NIGHT, MINUTE = noise(BIG, 1), noise(BIG, 2)


@pytest.fixture
def pulled(project: Project) -> Pulling:
    """A night's checkpoint, its small notes and its log are here."""
    project.configure(more=rule())
    pulling = Pulling(project)
    pulling.put("last.ckpt", NIGHT)
    pulling.put("notes", b"epoch 100")
    pulling.put("train.log", NIGHT)
    pulling.pull()
    project.close()
    return pulling


def replace_vm(pulled: Pulling, vm: Path) -> Pulling:
    vm.mkdir()
    pulled.project.configure(more=rule(), vm=vm)
    return Pulling(pulled.project)


def test_what_a_new_vm_writes_under_the_same_name_loses_nothing(
    pulled: Pulling, tmp_path: Path
) -> None:
    new = replace_vm(pulled, tmp_path / "vm2")
    new.put("last.ckpt", MINUTE)
    new.put("notes", b"epoch 1")
    new.pull()
    assert (new.read("last.ckpt"), new.read("notes")) == (MINUTE, b"epoch 1")
    assert new.read("last.earlier-vm.ckpt") == NIGHT
    assert new.read("notes.earlier-vm") == b"epoch 100"
    # Of one VM only the newest is kept, as ever; of the next one both again.
    new.put("last.ckpt", MINUTE[::-1])
    new.pull()
    assert new.read("last.earlier-vm.ckpt") == NIGHT
    assert new.read("last.earlier-vm-2.ckpt") is None
    new.project.close()
    third = replace_vm(pulled, tmp_path / "vm3")
    third.put("last.ckpt", NIGHT[::-1])
    third.pull()
    assert third.read("last.ckpt") == NIGHT[::-1]
    assert third.read("last.earlier-vm-2.ckpt") == MINUTE[::-1]
    assert third.read("last.earlier-vm.ckpt") == NIGHT


def test_what_goes_on_where_it_was_needs_no_second_name(
    pulled: Pulling, tmp_path: Path
) -> None:
    new = replace_vm(pulled, tmp_path / "vm2")
    for path in ("last.ckpt", "notes", "train.log"):
        there = pulled.here / path
        new.put(path, there.read_bytes())  # as `push --checkpoints` does
    new.put("train.log", NIGHT + MINUTE)  # more was written before we looked
    new.pull()
    new.put("last.ckpt", MINUTE)
    new.put("notes", b"epoch 101")
    new.pull()
    assert new.read("train.log") == NIGHT + MINUTE
    assert new.files() == {"last.ckpt", "notes", "train.log"}


def test_notes_of_an_older_version_know_no_vm(pulled: Pulling, tmp_path: Path) -> None:
    state = places.project_state_dir(pulled.project.root, None)
    with sqlite3.connect(state / "pulls.db") as database:
        database.execute("alter table pulled drop column vm")
    database.close()
    assert pulled.pull() == (0, 0)
    pulled.put("last.ckpt", MINUTE)
    pulled.pull()
    pulled.project.close()
    assert pulled.files() == {"last.ckpt", "notes", "train.log"}
    new = replace_vm(pulled, tmp_path / "vm2")
    new.put("last.ckpt", NIGHT)
    new.pull()
    assert new.read("last.earlier-vm.ckpt") == MINUTE
