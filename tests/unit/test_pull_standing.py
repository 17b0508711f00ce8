"""How a rule stands is kept while files arrive, and is as if it were made anew."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from colab_devsync.core.pulls import Remote, Version
from colab_devsync.engine.pulls.record import LocalStat, Pulled
from colab_devsync.engine.pulls.standing import Standing

paths = st.sampled_from("abcde")
versions = st.builds(
    Version, st.just(1), st.just(1), st.integers(0, 2), st.integers(0, 2)
)
theirs = st.dictionaries(paths, st.builds(Remote, versions))


@st.composite
def pulled(draw: st.DrawFn) -> Pulled:
    path, is_here = draw(paths), draw(st.booleans())
    local, about = (Path(path), LocalStat(1, 1, 1)) if is_here else (None, None)
    return Pulled("ck", path, f"/{path}", draw(versions), "ab", local, about)


@given(theirs, st.lists(pulled()), st.integers(0, 3), st.booleans())
def test_what_goes_along_is_what_would_be_made(
    there: dict[str, Remote], arriving: list[Pulled], keep: int, is_again: bool
) -> None:
    ours: dict[str, Pulled] = {}
    held = Standing.of(there, ours, keep, is_again)
    for one in arriving:
        holds = held.goes_along(there, ours, one)
        ours[one.path] = one
        made = Standing.of(there, ours, keep, is_again)
        if holds:
            assert held == made
            assert list(held.fetch) == list(made.fetch)
        held = made


def test_new_files_go_along() -> None:
    there = {path: Remote(Version(1, 1, 1, n)) for n, path in enumerate("abc")}
    held = Standing.of(there, {}, 0, is_again=False)
    ours: dict[str, Pulled] = {}
    for path in "bca":
        one = Pulled(
            "ck", path, path, there[path].version, "ab", Path(path), LocalStat(1, 1, 1)
        )
        assert held.goes_along(there, ours, one)
        ours[path] = one
    assert (held.fetch, held.here, held.newest, held.only_there) == ({}, 3, "c", 0)
