"""Which paths and links may be used at all."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colab_devsync.agent.paths import STATE_DIR, UnsafePath, link_stays_inside, split

parts = st.sampled_from(["a", "b", "..", ".", "", "x y", STATE_DIR])


@pytest.mark.parametrize("path", ["a", "a/b", "...", "a/.b", f"a/{STATE_DIR}", "ä"])
def test_plain_paths(path: str) -> None:
    assert "/".join(split(path)) == path


@pytest.mark.parametrize(
    "path",
    [
        *["", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/..", "a/./b"],
        *["a\0", "x\ud800", STATE_DIR, STATE_DIR + "/lock"],
    ],
)
def test_other_paths(path: str) -> None:
    with pytest.raises(UnsafePath):
        split(path)


@given(st.lists(parts, min_size=1).map("/".join))
def test_what_passes_stays_below(path: str) -> None:
    try:
        split(path)
    except UnsafePath:
        return
    assert os.path.normpath(path) == path.replace("/", os.sep)
    assert not path.startswith(("/", ".."))


@given(st.lists(parts).map("/".join), st.lists(parts).map("/".join))
def test_a_link_that_passes_leads_inside(path: str, target: str) -> None:
    try:
        split(path)
    except UnsafePath:
        return
    if link_stays_inside(path, target):
        there = os.path.normpath(os.path.join("/root", os.path.dirname(path), target))
        assert there == os.path.normpath("/root") or there.startswith(
            os.path.normpath("/root") + os.sep
        )


@pytest.mark.parametrize("target", ["", "/", "/etc", "a\0b", "../../x", "b/../../../x"])
def test_links_that_lead_out(target: str) -> None:
    assert not link_stays_inside("d/link", target)


def test_the_local_side_needs_no_posix_modules() -> None:
    """What the daemon imports of the agent must import on Windows."""
    program = (
        "import sys; sys.modules.update(dict.fromkeys(['fcntl', 'pwd', 'resource']));"
        "from colab_devsync.agent import delta, hashing, paths, wire;"
        "from colab_devsync.remote import bootstrap, client, liveness;"
        "bootstrap.payload()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
