"""How numbers and tables look, and how a rate is measured."""

from __future__ import annotations

import click
import pytest

from colab_devsync.cli import mirror, output, service
from colab_devsync.cli.demo.stage import as_json
from colab_devsync.cli.progress import Rate
from colab_devsync.core.events import with_path


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1500, "1.5 kB"),
        (150_000_000, "150.0 MB"),
        (16e9, "16.0 GB"),
        (2e12, "2.0 TB"),
    ],
)
def test_sizes(count: float, text: str) -> None:
    assert output.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.4, "3 s"), (65, "1 min"), (3 * 3600 + 720, "3 h 12 min")]
)
def test_ages(seconds: float, text: str) -> None:
    assert output.age(seconds) == text


def test_a_table_leaves_out_what_is_empty_and_indents_what_is_long() -> None:
    rows = [("link", "online"), ("gpu", ""), ("problems", "one\ntwo")]
    assert click.unstyle(output.table(rows)) == (
        "link      online\nproblems  one\n          two"
    )


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    text = click.unstyle(output.columns(("PATH", "HERE"), [("a", "changed")]))
    assert text == "PATH  HERE\na     changed"


def test_a_comparison_marks_what_would_be_deleted() -> None:
    done = {"paths": ["a.py", "old.py"], "deletions": ["old.py"], "seconds": 0.5}
    assert mirror.comparison(done) == (
        "2 files differ (in 0.50 s).\n  a.py\n  old.py (to be deleted on the VM)"
    )
    done = {"paths": [], "deletions": [], "seconds": 0.5}
    assert mirror.comparison(done) == "The VM is up to date (in 0.50 s)."


def test_a_rate_forgets_what_is_older_than_five_seconds() -> None:
    rate = Rate()
    rate.add(0, 0)
    assert rate.per_second() is None
    rate.add(1, 1000)
    assert rate.per_second() == 1000
    rate.add(5.5, 1000)
    assert rate.per_second() is None
    rate.add(6.5, 3000)
    assert rate.per_second() == pytest.approx(2000)


def test_a_problem_names_its_file_once() -> None:
    assert with_path("a.py", "a.py: too large") == "a.py: too large"
    assert with_path("a.py", "It is too large") == "a.py: It is too large"


def test_the_demo_tells_machines_what_it_measured() -> None:
    assert as_json([("first mirror", "0.24 s", "208 files")], 7.00049) == {
        "seconds": 7.0,
        "steps": [{"step": "first mirror", "took": "0.24 s", "note": "208 files"}],
    }


def test_the_daemons_projects_are_told_apart_by_their_profiles() -> None:
    one = {"name": "seg", "link": "online", "folder": "/seg"}
    body = {"pid": 1, "version": "1", "clients": 1, "log": "/log"}
    text = service._describe({**body, "projects": [one, {**one, "profile": "gpu2"}]})
    assert "seg: online (/seg)" in text
    assert "seg with profile gpu2: online (/seg)" in text
