"""A VM for each test, and the means to wait for a file's contents."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.sshd import require_sshd
from tests.support.vm import Vm


@pytest.fixture
def vm() -> Iterator[Vm]:
    require_sshd()
    with Vm() as made:
        yield made
