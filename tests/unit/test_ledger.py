"""Notes that a full disk refuses are made later, in order, all or nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from colab_devsync.engine.ledger import Ledger, one

KEEP = "insert or replace into notes values (?, ?)"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(tmp_path / "notes.db", isolation_level=None)
    db.execute("pragma journal_mode = wal")
    db.execute("create table notes (key text primary key, value text)")
    yield db
    db.close()


def full(db: sqlite3.Connection, is_full: bool) -> None:
    """SQLite then answers as on a disk without room."""
    pages = db.execute("pragma page_count").fetchone()[0]
    db.execute(f"pragma max_page_count = {pages if is_full else 100_000}")


def notes(db: sqlite3.Connection) -> dict[str, str]:
    return dict(db.execute("select key, value from notes").fetchall())


def test_what_is_refused_is_written_with_the_next(db: sqlite3.Connection) -> None:
    ledger = Ledger(db)
    ledger.write(one(KEEP, "a", "first"))
    full(db, True)
    ledger.write(one(KEEP, "a", "second"), one(KEEP, "b", "x" * 100_000))
    assert "full" in str(ledger.refusal)
    ledger.write(one("delete from notes where key = ?", "b"))
    assert notes(db) == {"a": "first"}
    full(db, False)
    ledger.write(one(KEEP, "c", "third"))
    assert notes(db) == {"a": "second", "c": "third"}
    assert ledger.refusal is None


def test_what_is_owed_can_be_caught_up(db: sqlite3.Connection) -> None:
    ledger = Ledger(db)
    ledger.catch_up()
    full(db, True)
    ledger.write(one(KEEP, "b", "x" * 100_000))
    ledger.catch_up()
    assert ledger.refusal is not None
    full(db, False)
    ledger.catch_up()
    assert set(notes(db)) == {"b"}


def test_mistakes_of_ours_are_not_the_disks(db: sqlite3.Connection) -> None:
    ledger = Ledger(db)
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        ledger.write(one("delete from absent where key = ?", "a"))
    assert ledger.refusal is None
    ledger.write(one(KEEP, "a", "still works"))
    assert notes(db) == {"a": "still works"}
