"""When deletions are asked about."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colab_devsync.core.safety import RootState, objection

FINE = RootState()


@pytest.mark.parametrize(
    ("deleting", "manifest"),
    [(0, 0), (0, 100), (1, 1), (1, 2), (20, 21), (20, 1000), (25, 100), (250, 1000)],
)
def test_few_deletions_go_out(deleting: int, manifest: int) -> None:
    assert objection(deleting, manifest, FINE) is None


@pytest.mark.parametrize(
    ("deleting", "manifest", "why"),
    [
        (2, 2, "emptied"),
        (20, 20, "emptied"),
        (21, 80, "21 of 80"),
        (26, 100, "26 of 100"),
        (251, 1000, "251 of 1000"),
    ],
)
def test_many_deletions_are_asked_about(deleting: int, manifest: int, why: str) -> None:
    assert why in str(objection(deleting, manifest, FINE))


@pytest.mark.parametrize(
    ("root", "why"),
    [
        (RootState(exists=False), "gone"),
        (RootState(same_folder=False), "replaced"),
        (RootState(walk_errors=2), "2 folders could not be read"),
    ],
)
def test_a_walk_that_proves_nothing_deletes_nothing(root: RootState, why: str) -> None:
    assert why in str(objection(1, 1000, root))
    assert objection(0, 1000, root) is None


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_more_deletions_are_never_safer(deleting: int, manifest: int) -> None:
    if objection(deleting, manifest, FINE) is not None:
        assert objection(deleting + 1, manifest, FINE) is not None
