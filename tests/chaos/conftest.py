"""Fixtures of the chaos tests."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.chaos.world")

from tests.support.project import project  # noqa: E402 - asserts explain themselves

__all__ = ["project"]
