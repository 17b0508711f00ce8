"""The benchmark's own parts: same trees everywhere, and an honest table."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

from bench.report import Failure, Result, markdown
from bench.trees import change_one_line, flat_tree, full_tree


def digest(root: Path) -> str:
    seen = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file():
            seen.update(path.relative_to(root).as_posix().encode())
            seen.update(path.read_bytes())
    return seen.hexdigest()


def test_a_tree_is_the_same_each_time(tmp_path: Path) -> None:
    full_tree(tmp_path / "one", 0.02)
    full_tree(tmp_path / "two", 0.02)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")


def test_a_tree_has_the_size_it_says_and_compresses_like_a_project(
    tmp_path: Path,
) -> None:
    tree = full_tree(tmp_path, 0.02)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    contents = [path.read_bytes() for path in files]
    assert len(files) == tree.files
    assert sum(map(len, contents)) == tree.bytes
    packed = sum(len(zlib.compress(content)) for content in contents)
    assert 0.2 < packed / tree.bytes < 0.5


def test_a_flat_tree_has_as_many_files_as_asked(tmp_path: Path) -> None:
    tree = flat_tree(tmp_path, 450, 100)
    sizes = [path.stat().st_size for path in tmp_path.rglob("*.py")]
    assert sizes == [100] * tree.files


def test_one_line_changes_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    before = b"".join(b"line %d\n" % number for number in range(100))
    path.write_bytes(before)
    change_one_line(path, 7)
    old, new = set(before.splitlines()), set(path.read_bytes().splitlines())
    assert new - old == {b"changed xxxxxxx"}
    assert len(old - new) == 1


def test_the_table_says_what_is_over_and_what_is_missing() -> None:
    results = [
        Result("save", "ours", 0, 3.2, "ms", limit=10),
        Result("save", "ours", 50, 70.0, "ms", limit=60),
        Result("save", "theirs", 50, 400.0, "ms", note="slow"),
    ]
    text = markdown(results, [Failure("idle", 0, "no /proc")])
    rows = [line for line in text.splitlines() if line.startswith("| save")]
    assert rows == [
        "| save | ours | ms | 3.2 | 70.0 | ≤ 10.0 / 60.0 | **over** |  |",
        "| save | theirs | ms |  | 400 |  |  | slow |",
    ]
    assert "not measured: idle at RTT 0 ms: no /proc" in text
