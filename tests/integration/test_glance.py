"""Questions to the VM in passing: remembered, never connecting."""

from __future__ import annotations

import sys

import pytest

from colab_devsync.core.events import ModulesChanged
from colab_devsync.errors import LinkLost, RemoteRefused
from tests.support.project import WAIT_S, Project

NEEDS = {("", "soon_there"), ("", "json"), ("tools", "helper")}
GONE = {("", "soon_there"), ("tools", "helper")}


def missing(project: Project, *, again: bool = False) -> set[tuple[str, str]]:
    asked = project.session.glance.missing(NEEDS, again=again)
    return set(asked.result(WAIT_S))


def test_without_a_link_nothing_is_asked(project: Project) -> None:
    for asked in (
        project.session.glance.missing(NEEDS),
        project.session.glance.folders(""),
    ):
        with pytest.raises(LinkLost):
            asked.result(WAIT_S)
    assert project.session.status().link == "offline"
    assert project.session.glance.login is None


def test_what_is_missing_is_remembered_until_there_is_a_reason(
    project: Project,
) -> None:
    project.connect()
    assert missing(project) == GONE
    project.write_there("soon_there.py", "")
    assert missing(project) == GONE
    assert missing(project, again=True) == {("tools", "helper")}

    project.write_there("tools/helper.py", "")
    project.session.glance.forget()
    project.wait(
        lambda: any(isinstance(one, ModulesChanged) for one in project.log.events),
        "everybody is told",
    )
    assert missing(project) == set()


def test_another_python_is_asked_anew(project: Project) -> None:
    project.connect()
    assert missing(project) == GONE
    project.write_there("soon_there.py", "")
    project.configure(more=f'[run]\nenv = {{ PYTHONPATH = "{sys.prefix}" }}')
    project.session.config_changed()
    assert missing(project) == {("tools", "helper")}


def test_the_vm_says_who_it_is_and_what_folders_it_has(project: Project) -> None:
    project.connect()
    login = project.session.glance.login
    assert login is not None
    assert login.host_key.startswith("ssh-")
    (project.vm / "runs" / "one").mkdir(parents=True)
    assert project.session.glance.folders("runs").result(WAIT_S) == ("one",)
    with pytest.raises(RemoteRefused):
        project.session.glance.folders("nowhere").result(WAIT_S)
