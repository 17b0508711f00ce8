"""A session's memory on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from colab_devsync.agent import hashing
from colab_devsync.core import delta
from colab_devsync.core.events import Conflict
from colab_devsync.core.plan import Known, LocalStat
from colab_devsync.engine.store import Store

STAT = LocalStat("f", 10, 123_456_789_012_345_678, 2**63 - 1, True)
LINK = LocalStat("l", 3, 5, 6, None)


def known(content_hash: str, stat: LocalStat = STAT) -> Known:
    return Known(content_hash, stat, 99)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


def reopened(store: Store) -> Store:
    """What another process finds; the first one did not say goodbye."""
    return Store(store.folder)


def test_acknowledged_files_are_remembered(store: Store) -> None:
    store.acknowledge([("a.py", known("aa")), ("d/l", known("bb", LINK))])
    again = reopened(store)
    assert again.known == {"a.py": known("aa"), "d/l": known("bb", LINK)}
    assert again.digest == store.digest
    assert again.client_id == store.client_id
    again.close()


def test_the_digest_is_that_of_the_files(store: Store) -> None:
    store.acknowledge([("a", known("aa")), ("b", known("bb"))])
    store.acknowledge([("a", known("cc"))], deleted=["b"])
    assert store.digest == hashing.token("a", "cc")
    store.acknowledge([], deleted=["a", "never"])
    assert store.digest == 0


def test_folders_are_counted(store: Store) -> None:
    store.acknowledge([("a/b/x", known("aa")), ("a/y", known("bb"))])
    assert dict(store.folders) == {"a": 2, "a/b": 1}
    store.acknowledge([("a/b/x", known("cc"))])
    store.acknowledge([], deleted=["a/b/x"])
    assert dict(store.folders) == {"a": 1}


def test_what_was_sent_survives_until_it_is_settled(store: Store) -> None:
    store.note_sent([("a", "h1"), ("a", "h2"), ("b", "h3")], durable=True)
    store.note_sent([("a", "h1")], durable=False)
    again = reopened(store)
    assert {path: set(one) for path, one in again.sent.items()} == {
        "a": {"h1", "h2"},
        "b": {"h3"},
    }
    again.acknowledge([("a", known("h1"))], still_sent=[("a", "h2")])
    assert again.sent == {"a": ["h2"], "b": ["h3"]}
    again.drop_sent("b")
    again.acknowledge([], deleted=["a"])
    assert again.sent == {}
    again.close()


def test_a_signature_belongs_to_one_version(store: Store) -> None:
    signature = delta.sign([b"x" * delta.BLOCK, b"y"], delta.BLOCK + 1)
    store.keep_signature("a", "h1", signature)
    assert store.signature("a", "h1") == signature
    assert store.signature("a", "h2") is None
    store.acknowledge([], deleted=["a"])
    assert store.signature("a", "h1") is None


def test_another_vm_owes_nothing(store: Store) -> None:
    store.acknowledge([("d/a", known("aa"))])
    store.note_sent([("b", "h")], durable=False)
    store.keep_conflict(Conflict("c", "x", "y", 1.5))
    store.forget_vm()
    again = reopened(store)
    assert (again.known, again.sent, again.conflicts()) == ({}, {}, {})
    assert (again.digest, dict(again.folders)) == (0, {})
    assert again.client_id == store.client_id
    again.close()


def test_conflicts_survive(store: Store) -> None:
    conflict = Conflict("c", None, "y", 1.5, "/copy")
    store.keep_conflict(conflict)
    again = reopened(store)
    assert again.conflicts() == {"c": conflict}
    again.drop_conflict("c")
    assert again.conflicts() == {}
    again.close()


def test_facts(store: Store) -> None:
    assert store.get("marker") is None
    store.set("marker", "m1")
    store.set("marker", "m2")
    assert store.get("marker") == "m2"
