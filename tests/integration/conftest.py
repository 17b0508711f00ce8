"""Fixtures of the integration tests that live in tests/support."""

from tests.support.project import project

__all__ = ["project"]
