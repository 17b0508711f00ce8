"""The memory of what was pulled."""

from __future__ import annotations

from pathlib import Path

from colab_devsync.engine.pulls.record import Pulled, Record, Version, stat_of


def pulled(folder: Path, path: str, mtime_ns: int, data: bytes = b"x") -> Pulled:
    local = folder / path
    local.write_bytes(data)
    version = Version(1, mtime_ns, len(data), mtime_ns)
    remote = f"/content/p/checkpoints/{path}"
    return Pulled("ck", path, remote, version, "ab", local, stat_of(local))


def test_the_newest_come_first_and_equal_times_have_a_stable_order(
    tmp_path: Path,
) -> None:
    record = Record(tmp_path)
    record.keep([pulled(tmp_path, "c", 5), pulled(tmp_path, "a", 5)])
    record.keep([pulled(tmp_path, "b", 9), pulled(tmp_path, "d", 1)])
    assert [one.path for one in record.newest("ck")] == ["b", "a", "c", "d"]
    assert [one.path for one in record.newest("ck", 2)] == ["b", "a"]
    assert record.newest("other") == []
    record.close()
    again = Record(tmp_path)
    assert again.newest("ck", 1)[0].path == "b"


def test_what_was_changed_or_deleted_here_is_not_among_the_newest(
    tmp_path: Path,
) -> None:
    record = Record(tmp_path)
    files = [pulled(tmp_path, name, age) for age, name in enumerate("abc")]
    record.keep(files)
    (tmp_path / "c").write_bytes(b"somebody's")
    (tmp_path / "b").unlink()
    assert [one.path for one in record.newest("ck")] == ["a"]
    assert record.dropped(files[0]).local is None
    assert record.newest("ck") == []
    assert set(record.pulled("ck")) == {"a", "b", "c"}


def test_parts_are_forgotten_when_the_file_is_whole(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.keep_part("ck", "a", "1:2:3:4", "0-10")
    assert record.part("ck", "a") == ("1:2:3:4", "0-10")
    record.keep([pulled(tmp_path, "a", 1)])
    assert record.part("ck", "a") is None


def test_names_of_any_bytes(tmp_path: Path) -> None:
    path = b"caf\xe9.pt".decode("utf-8", "surrogateescape")
    version = Version(1, 2, 3, 4)
    one = Pulled("ck", path, f"/out/{path}", version, "ab", tmp_path / path, None)
    record = Record(tmp_path)
    record.keep_part("ck", path, "1:2:3:4", "[]")
    assert record.part("ck", path) == ("1:2:3:4", "[]")
    assert record.parts("ck") == [path]
    record.keep([one])
    assert record.parts("ck") == []
    record.close()
    again = Record(tmp_path).pulled("ck")[path]
    assert (again.path, again.remote, again.local) == (path, one.remote, one.local)
