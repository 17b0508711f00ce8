"""Clients write URIs, people write paths, and both make mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from colab_devsync.lsp.local_paths import fs_path, named


@pytest.mark.parametrize("text", ["untitled:Untitled-1", "http://[::bad", "file://[x"])
def test_what_is_no_file_has_no_path(text: str) -> None:
    assert fs_path(text) is None


def test_a_file_may_be_named_either_way(tmp_path: Path) -> None:
    file = tmp_path / "a b.py"
    assert named(file.as_uri()) == named(str(file)) == file
    assert named("http://[::bad") == Path("http://[::bad")
