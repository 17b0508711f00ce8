"""Many small files get their names together, each of them as safely as alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from colab_devsync.core.config.schema import PullConfig
from colab_devsync.core.pulls import Version
from colab_devsync.engine.pulls.incoming import Outcome
from colab_devsync.engine.pulls.record import Record
from colab_devsync.engine.pulls.rule import Rule
from colab_devsync.engine.pulls.small import Came, Small
from colab_devsync.engine.pulls.together import land_together

COUNT = 50
TIME = 10**18  # ns


@pytest.fixture
def rule(tmp_path: Path) -> Rule:
    state = tmp_path / "state"
    state.mkdir()
    config = PullConfig(remote="ck", local="ck")
    return Rule(tmp_path, config, "/content/p/ck", Record(state))


def came(path: str, data: bytes, mtime_ns: int = TIME) -> Came:
    content = hashlib.sha256(data).hexdigest()
    file = Small(path, Version(1, 2, len(data), mtime_ns), [])
    return Came(file, Outcome(content=content), data)


def many() -> list[Came]:
    return [came(f"d{n % 3}/{n}.json", b"%d" % n, TIME + n) for n in range(COUNT)]


def files(rule: Rule) -> dict[str, bytes]:
    """All that is in the folder, what is left of parts too."""
    folder = rule.landing.folder
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_all_are_durable_before_the_first_has_its_name(
    rule: Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Content, size and time of each: after a power cut, a name stands for all that."""
    durable: list[tuple[int, int, int]] = []
    named: list[tuple[int, int, int]] = []

    def noting(
        call: Callable[..., None], notes: list[tuple[int, int, int]]
    ) -> Callable[..., None]:
        def run(file: int | Path, *rest: object) -> None:
            about = os.stat(file)
            call(file, *rest)
            if notes is named:
                assert len(durable) == COUNT
            notes.append((about.st_ino, about.st_size, about.st_mtime_ns))

        return run

    monkeypatch.setattr(os, "fsync", noting(os.fsync, durable))
    monkeypatch.setattr(os, "link", noting(os.link, named))
    landed, others = land_together(rule, many())
    assert (len(landed), others) == (COUNT, [])
    assert sorted(durable) == sorted(named)
    assert [mtime_ns for *_, mtime_ns in named] == [TIME + n for n in range(COUNT)]
    assert files(rule) == {f"d{n % 3}/{n}.json": b"%d" % n for n in range(COUNT)}
    assert all(one.pulled.is_here and one.problem is None for one in landed)


def test_one_that_cannot_be_put_here_is_nobody_elses_trouble(rule: Rule) -> None:
    stranger = rule.landing.folder / "d1" / "1.json"
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(b"somebody's")
    damaged = Came(Small("bad", Version(1, 2, 3, TIME), []), Outcome(damaged=True))
    landed, others = land_together(rule, [came("n" * 300, b"x"), damaged, *many()])
    assert len(landed) == COUNT
    assert {one.file.path: one.outcome.damaged for one in others} == {
        "n" * 300: False,
        "bad": True,
    }
    assert all(one.outcome.problem or one.outcome.damaged for one in others)
    assert [one.pulled.path for one in landed if one.problem] == ["d1/1.json"]
    here = files(rule)
    assert len(here) == COUNT + 1  # no part is left
    assert here["d1/1.json"] == b"somebody's"
    assert here["d1/1.from-vm.json"] == b"1"


def test_what_is_here_already_gets_the_new_time(rule: Rule) -> None:
    landed, _ = land_together(rule, [came("a", b"same")])
    rule.landed(landed)
    inode = (rule.landing.folder / "a").stat().st_ino
    landed, _ = land_together(rule, [came("a", b"same", TIME + 5)])
    about = (rule.landing.folder / "a").stat()
    assert (about.st_ino, about.st_mtime_ns) == (inode, TIME + 5)
    assert landed[0].pulled.is_here
