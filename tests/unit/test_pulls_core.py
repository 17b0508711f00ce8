"""What is wanted of a VM's files, and what never goes back there."""

from __future__ import annotations

import pytest

from colab_devsync.core.config import load_config
from colab_devsync.core.pulls import (
    Version,
    add_range,
    copy_name,
    gaps,
    is_plain,
    surplus,
    wanted,
)
from colab_devsync.engine.mirroring.survey import rules_of


def version(mtime_ns: int, ino: int = 1) -> Version:
    return Version(1, ino, 10, mtime_ns)


THERE = {"old": version(1), "b": version(5), "a": version(5), "new": version(9)}


def test_the_newest_come_first_and_equal_ages_by_name() -> None:
    assert wanted(THERE, {}, {}, 0) == ["new", "a", "b", "old"]
    assert wanted(THERE, {"new": version(9), "b": version(4)}, {}, 0) == [
        "a",
        "b",
        "old",
    ]


def test_what_would_be_dropped_at_once_is_not_fetched() -> None:
    assert wanted(THERE, {}, {}, 2) == ["new", "a"]
    here = {"gone there": version(7), "a": version(5)}
    assert wanted(THERE, here, here, 2) == ["new"]
    assert surplus({**THERE, "gone there": version(7)}, 2) == ["a", "b", "old"]
    assert surplus(THERE, 0) == []


@pytest.mark.parametrize(
    ("path", "windows", "plain"),
    [
        ("a/b.pt", False, True),
        ("epoch=1:step=2.ckpt", False, True),
        ("epoch=1:step=2.ckpt", True, False),
        ("../a", False, False),
        ("/a", False, False),
        ("a//b", False, False),
        ("a\\b", True, False),
        ("a/nul.pt", True, False),
        ("Aux/a.pt", True, False),
        ("LPT¹", True, False),
        ("a.", True, False),
        ("a /b", True, False),
        ("a\nb", True, False),
        ("nul.pt", False, True),
        ("a.\n", False, True),
        ("null.pt", True, True),
        ("com10.a", True, True),
        (".hidden", True, True),
    ],
)
def test_names_that_lead_elsewhere_are_refused(
    path: str, windows: bool, plain: bool
) -> None:
    assert is_plain(path, windows=windows) is plain


def test_copies_keep_their_suffix() -> None:
    names = [copy_name(one) for one in ("a.pt", "x/y.tar.gz", "LICENSE", "x/.env")]
    assert names == [
        "a.from-vm.pt",
        "x/y.tar.from-vm.gz",
        "LICENSE.from-vm",
        "x/.env.from-vm",
    ]


def test_ranges() -> None:
    ranges = add_range(add_range([], 10, 20), 30, 40)
    assert gaps(ranges, 50) == [(0, 10), (20, 30), (40, 50)]
    assert add_range(ranges, 15, 30) == [(10, 40)]
    assert gaps(add_range([], 0, 50), 50) == []


@pytest.mark.parametrize(
    ("pull", "sync", "ignored", "mirrored"),
    [
        ("remote = 'out'", "", ["out/a.pt", "out/d/b"], ["a.py", "src/out.py"]),
        ("remote = 'o[1]'", "", ["o[1]/a"], ["o1/a"]),
        ("remote = 'out'", "include = ['out/', '*.pt']", ["out/a.pt"], ["b/c.pt"]),
        ("remote = 'out'\nlocal = '.'\ninclude = ['*.pt']", "", ["a/b.pt"], ["a.py"]),
        (
            "remote = 'out'\nlocal = '.'\ninclude = ['*.pt']",
            "include = ['data/']",
            ["data/b.pt"],
            ["data/a.csv"],
        ),
    ],
)
def test_what_is_pulled_is_never_mirrored(
    pull: str, sync: str, ignored: list[str], mirrored: list[str]
) -> None:
    text = f"[sync]\n{sync}\n[[pull]]\n{pull}\n"
    config = load_config(text, folder_name="p", profile=None, source="test")
    rules = rules_of(config)
    assert [path for path in ignored if not rules.ignores(path, False)] == []
    assert [path for path in mirrored if rules.ignores(path, False)] == []
