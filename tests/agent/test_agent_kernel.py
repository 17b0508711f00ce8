"""Programs on the VM get the running notebook kernel's environment."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from colab_devsync.agent.kernel import Kernel


@contextmanager
def process(name: str, **env: str) -> Iterator[None]:
    """A real one, whose command line names it, and which is surely executed."""
    program = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", program, name],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        running.stdout.readline()
        yield
        running.communicate()


@pytest.fixture
def name() -> str:
    """Not a real kernel's: every agent on this machine would follow that."""
    return f"kernel-{uuid.uuid4().hex}"


def test_the_kernel_is_found_lost_and_found_again(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", "kept")
    monkeypatch.setenv("BOTH", "ours")
    kernel = Kernel((name.encode(),))
    assert kernel.environment()["BOTH"] == "ours"
    with process("nobody", BOTH="nobody's"), process(name, BOTH="its", MORE="a=b\nc"):
        for _ in range(2):
            found = kernel.environment()
            assert (found["OURS"], found["BOTH"], found["MORE"]) == (
                "kept",
                "its",
                "a=b\nc",
            )
    assert kernel.environment()["BOTH"] == "ours"
    assert "MORE" not in kernel.environment()
    with process(name, BOTH="the next one's"):
        assert kernel.environment()["BOTH"] == "the next one's"


def test_of_two_kernels_the_one_that_was_used_goes_on(name: str) -> None:
    kernel = Kernel((name.encode(),))
    with process(name, WHO="first"):
        assert kernel.environment()["WHO"] == "first"
        with process(name, WHO="second"):
            assert kernel.environment()["WHO"] == "first"
