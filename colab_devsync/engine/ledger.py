"""Writes to an SQLite database whose disk may refuse, so that work goes on meanwhile.

What could not be written is owed: the next write brings it along, in order. Only a
crash before that loses it, and what our notes miss is found out again from the files.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

_log = logging.getLogger(__name__)

Statement = tuple[str, list[Any]]
"""SQL, and the rows it is executed with."""

_DISK = ("disk is full", "disk i/o error", "readonly database", "unable to open")


class Ledger:
    """The holder of `db` sees to it that one thread calls at a time."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._owed: list[Statement] = []
        self.refusal: str | None = None  # why something is owed

    def write(self, *statements: Statement) -> None:
        """All or nothing, now or later. sqlite3.Error if it is not the disk's fault."""
        owed = [*self._owed, *(one for one in statements if one[1])]
        if not owed:
            return
        try:
            self._db.execute("begin")
            for text, rows in owed:
                self._db.executemany(text, rows)
            self._db.execute("commit")
        except sqlite3.OperationalError as exc:
            with suppress(sqlite3.OperationalError):  # SQLite may have done it itself
                self._db.execute("rollback")
            if not any(words in str(exc).lower() for words in _DISK):
                raise
            if self.refusal is None:
                _log.warning("nothing can be noted at the moment: %s", exc)
            self._owed, self.refusal = owed, str(exc)
        else:
            self._owed, self.refusal = [], None

    def catch_up(self) -> None:
        """Tries again what is owed."""
        self.write()


def one(text: str, *row: object) -> Statement:
    """A statement with one row."""
    return text, [row]


def all_of(tables: Iterable[str]) -> list[Statement]:
    """Statements that empty these tables."""
    return [one(f"delete from {table}") for table in tables]
