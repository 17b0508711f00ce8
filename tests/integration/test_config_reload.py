"""A changed `.colabremote.toml` is taken over; a broken one stops the next command."""

from __future__ import annotations

from pathlib import Path

import pytest

from colab_devsync.engine.session import ExecSpec
from colab_devsync.errors import ConfigError
from tests.support.project import CONFIG, WAIT_S, Project


def test_new_rules_hold_for_the_next_file(project: Project) -> None:
    project.connect()
    project.sync()
    project.configure(sync='exclude = ["*.log"]')
    project.session.config_changed()
    project.write("noise.log", "x")
    project.write("train.py", "x = 1\n")
    project.wait_arrived("train.py")
    project.sync()
    assert project.there("noise.log") is None
    assert project.session.status().link == "online"


def test_a_save_while_the_rules_change_is_told_like_any_other(project: Project) -> None:
    project.connect()
    project.sync()
    project.configure(sync='exclude = ["*.log"]')
    project.session.config_changed()
    project.save("train.py", "x = 1\n")
    project.wait(lambda: project.log.mirrored("train.py"), "the save is told")
    assert project.there("train.py") == b"x = 1\n"


def test_another_root_is_another_place(project: Project, tmp_path: Path) -> None:
    project.write("train.py", "x = 1\n")
    project.sync()
    first, second = project.vm, project.vm.with_name("elsewhere")
    project.configure(vm=second)
    project.sync()
    assert (second / "train.py").read_bytes() == b"x = 1\n"
    assert (first / "train.py").exists()  # never a delete on a machine left behind


def test_a_broken_file_is_an_error_even_while_online(project: Project) -> None:
    project.connect()
    project.sync()
    good = (project.root / CONFIG).read_text(encoding="utf-8")
    (project.root / CONFIG).write_text(good + "\n[link\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        project.sync()
    assert CONFIG in str(caught.value)
    project.save("train.py", "x = 2\n")  # the old one is still in use
    project.wait_arrived("train.py")
    (project.root / CONFIG).write_text(good, encoding="utf-8")
    project.sync()
    assert project.session.status().message is None


def test_a_corrected_file_is_complained_of_no_more(project: Project) -> None:
    project.connect()
    config = project.root / CONFIG
    good = config.read_text(encoding="utf-8")
    for text, is_broken in ((good + "\n[sink]\n", True), (good, False)):
        config.write_text(text, encoding="utf-8")
        project.session.config_changed()
        project.wait(
            lambda is_broken=is_broken: (
                bool(project.session.status().message) is is_broken
            ),
            "what the status says of it",
        )


def test_a_check_changes_nothing_and_mirroring_goes_on_after_it(
    project: Project,
) -> None:
    project.write("train.py", "x = 1\n")
    checked = project.sync(check=True)
    assert "train.py" in checked.paths
    assert project.there("train.py") is None
    project.wait_arrived("train.py")


def test_programs_get_the_configured_environment(project: Project) -> None:
    project.configure(more='[remote.env]\nA = "from the file"\nB = "too"')
    said: list[bytes] = []
    spec = ExecSpec(["sh", "-c", 'printf "$A, $B"'], env={"A": "mine"})
    process = project.session.exec(spec, lambda stream, data: said.append(data))
    assert process.result(WAIT_S).exit_code.result(WAIT_S) == 0
    assert b"".join(said) == b"mine, too"
