"""Digests of manifests do not depend on the order in which they came to be."""

from __future__ import annotations

import io
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from colab_devsync.agent import hashing

paths = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1)
manifests = st.dictionaries(paths, st.binary().map(hashing.of_bytes), max_size=8)


def digest(manifest: dict[str, str]) -> int:
    total = 0
    for path, content_hash in manifest.items():
        total = hashing.add(total, hashing.token(path, content_hash))
    return total


@given(manifests, st.randoms())
def test_order_does_not_matter(manifest: dict[str, str], random: Random) -> None:
    items = list(manifest.items())
    random.shuffle(items)
    assert digest(dict(items)) == digest(manifest)


@given(manifests, paths, st.binary())
def test_taking_out_undoes_putting_in(
    manifest: dict[str, str], path: str, data: bytes
) -> None:
    value = hashing.token(path, hashing.of_bytes(data))
    before = digest(manifest)
    after = hashing.add(before, value)
    assert after != before
    assert hashing.add(after, -value) == before


def test_absence_adds_nothing() -> None:
    assert hashing.token("a", "") == 0


def test_path_and_hash_do_not_run_together() -> None:
    assert hashing.token("a", "bc") != hashing.token("ab", "c")


def test_a_link_is_not_the_file_with_its_target() -> None:
    assert hashing.of_link("x") != hashing.of_bytes(b"x")
    assert hashing.of_link("raw-\udcff") != hashing.of_link("raw-\udcfe")


@given(st.binary(max_size=3000))
def test_a_stream_hashes_like_its_bytes(data: bytes) -> None:
    assert hashing.of_stream(io.BytesIO(data)) == hashing.of_bytes(data)


def test_folder_digests_tell_which_folder_differs() -> None:
    one = {"a": "1" * 32, "d/b": "2" * 32, "d/e/c": "3" * 32}
    two = {**one, "d/b": "4" * 32}
    first = hashing.folder_digests(one.items())
    second = hashing.folder_digests(two.items())
    assert set(first) == {"", "d", "d/e"}
    assert {folder for folder in first if first[folder] != second[folder]} == {"d"}
    assert hashing.as_text(digest({"a": "1" * 32})) == first[""]
