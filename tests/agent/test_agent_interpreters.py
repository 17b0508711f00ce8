"""Which interpreters the agent is tested on."""

from __future__ import annotations

import os

import pytest

from tests.agent.interpreters import MINORS, interpreters


def test_old_and_new_interpreters_are_tested() -> None:
    found = set(interpreters())
    missing = [f"3.{minor}" for minor in MINORS if f"3.{minor}" not in found]
    if os.environ.get("CI") == "true":
        assert len(found) >= 2
    elif missing:
        pytest.skip("no interpreter for " + ", ".join(missing))
    assert found <= {f"3.{minor}" for minor in MINORS}
