"""What is said of an archive before it is sent, whatever stands in it."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from colab_devsync.agent.archives import Archive, estimate
from colab_devsync.engine.pushes.listing import name_of


def tarred(mode: str = "w:gz", name: str = "a", **headers: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode, format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
        info = tarfile.TarInfo(name)
        info.size, info.pax_headers = 5, headers
        archive.addfile(info, io.BytesIO(b"hello"))
    return packed.getvalue()


@pytest.mark.parametrize("mtime", ["nan", "inf", "-inf", "1e30", "-1e300"])
def test_a_time_that_no_clock_shows_is_no_obstacle(mtime: str) -> None:
    for mode in ("w", "w:gz"):
        data = tarred(mode, mtime=mtime)
        assert estimate(io.BytesIO(data))[1] == ""
        (member,) = Archive(io.BytesIO(data))
        assert (member.path, member.mtime_ns) == ("a", 0)


def test_times_are_kept() -> None:
    (member,) = Archive(io.BytesIO(tarred(mtime="1700000000.5")))
    assert member.mtime_ns == 1_700_000_000_500_000_000


def test_what_is_packed_is_looked_at_before_it_is_sent() -> None:
    size, objection = estimate(io.BytesIO(gzip.compress(b"id,label\n1,cat\n" * 100)))
    assert (size, "no tar archive" in objection, "\n" in objection) == (0, True, False)
    for mode in ("w:gz", "w:bz2", "w:xz"):
        assert "leads out" in estimate(io.BytesIO(tarred(mode, "../a")))[1]
    assert estimate(io.BytesIO(tarred())) == (10_240, "")


def test_a_folder_that_is_named_by_dots_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "data" / "raw").mkdir(parents=True)
    assert name_of(tmp_path / "data") == "data"
    assert name_of(tmp_path / "data" / "raw" / "..") == "data"
