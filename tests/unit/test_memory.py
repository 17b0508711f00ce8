"""What the daemon keeps in memory, and what it does not."""

from __future__ import annotations

import subprocess
import sys

import pytest

LEAN = """
import sys
import colab_devsync.link.ssh
assert "paramiko" in sys.modules
print(*(name for name in ("invoke", "unittest", "yaml") if sys.modules.get(name)))
"""
GIVEN_BACK = """
from colab_devsync.engine.memory import give_back

def resident():
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * 4096

pieces = [bytes(1000) for _ in range(100_000)]
last = pieces.pop()  # lies behind all others
del pieces
before = resident()
give_back()
print(before - resident())
"""


def said(program: str) -> str:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, check=True, stdout=-1, text=True).stdout.strip()


def test_paramiko_comes_without_what_we_do_not_use() -> None:
    assert said(LEAN) == ""


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries")
def test_what_was_freed_is_given_back() -> None:
    assert int(said(GIVEN_BACK)) > 50_000_000
