"""Decisions about one path."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from colab_devsync.core.plan import RACY_NS, Known, LocalStat, accept_set

STAT = LocalStat("f", 10, 1_000_000_000_000, 7, False)
KNOWN = Known("aa", STAT, STAT.mtime_ns + RACY_NS + 1)

hashes = st.text("abc", min_size=1, max_size=3)


def test_an_unchanged_stat_that_is_old_enough_is_current() -> None:
    assert KNOWN.is_current(STAT)


def test_any_difference_in_the_stat_asks_for_a_look() -> None:
    for changes in (
        {"size": 11},
        {"mtime_ns": STAT.mtime_ns - 1},
        {"inode": 8},
        {"executable": True},
        {"kind": "l"},
    ):
        assert not KNOWN.is_current(STAT._replace(**changes))


def test_a_time_stamp_close_to_the_look_proves_nothing() -> None:
    assert not KNOWN._replace(looked_ns=STAT.mtime_ns + RACY_NS).is_current(STAT)
    assert not KNOWN._replace(looked_ns=STAT.mtime_ns - 1).is_current(STAT)


def test_a_new_file_may_only_replace_nothing() -> None:
    assert accept_set(None, [], []) == [""]


@given(st.lists(hashes), st.lists(hashes))
def test_all_that_may_be_there_is_accepted_once(
    sent: list[str], extra: list[str]
) -> None:
    accepted = accept_set(KNOWN, sent, extra)
    assert accepted[0] == "aa"
    assert set(accepted) == {"aa", *sent, *extra}
    assert len(accepted) == len(set(accepted))
