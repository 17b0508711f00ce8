"""What was pulled, from where, and what of it is still here as we put it.

SQLite, one file per project and profile. It outlives VMs: a new one has none of these
files, and gets them back from here. Any thread may call.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ...core.pulls import Version
from ..ledger import Ledger, Statement

__all__ = ["LocalStat", "Pulled", "Record", "Version", "by_age", "stat_of"]

_NAME = "pulls.db"
_SCHEMA = """
create table if not exists pulled (
  rule text, path text, remote text not null,
  dev integer not null, ino integer not null, size integer not null,
  mtime_ns integer not null, hash text not null,
  local text, local_size integer, local_mtime_ns integer, local_ino integer,
  vm text not null default '',
  primary key (rule, path)) without rowid;
create table if not exists parts (
  rule text, path text, version text not null, ranges text not null,
  primary key (rule, path)) without rowid;
"""
_WITHOUT_VM = "alter table pulled add column vm text not null default ''"
_KEEP = "insert or replace into pulled values (?,?,?,?,?,?,?,?,?,?,?,?,?)"
_KEEP_PART = "insert or replace into parts values (?, ?, ?, ?)"
_DROP_PART = "delete from parts where rule = ? and path = ?"
_MASK = (1 << 63) - 1  # SQLite's integers are signed


class LocalStat(NamedTuple):
    """A file of ours as it was when we put it here."""

    size: int
    mtime_ns: int
    ino: int


@dataclass(frozen=True)
class Pulled:
    """A file that was pulled whole, its hash compared with the VM's."""

    rule: str  # `name` of the rule
    path: str  # "/"-separated, below the rule's folders
    remote: str  # absolute, on the VM
    version: Version  # of the VM's file; its mtime is the file's here too
    hash: str  # of the content, see `contents`
    local: Path | None  # absolute; None: it was dropped to keep only the newest
    stat: LocalStat | None = None
    vm: str = ""  # marker of the VM that had it; "": an older version noted it

    @property
    def is_here(self) -> bool:
        """Whether it still stands here exactly as we put it. Looks at the disk."""
        return self.local is not None and self.stat == stat_of(self.local)


class Record:
    """Opened once per session; several may be open at a time. `owner` marks what is
    ours where profiles share a folder."""

    def __init__(self, folder: Path) -> None:
        """`folder`: the project's own, see `places.project_state_dir`."""
        self.owner = hashlib.sha256(folder.name.encode()).hexdigest()[:8]
        self._lock = threading.Lock()
        self._is_closed = False
        self._db = sqlite3.connect(
            folder / _NAME,
            isolation_level=None,
            check_same_thread=False,
            timeout=30,
        )
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        self._db.executescript(_SCHEMA)
        columns = self._db.execute("pragma table_info(pulled)").fetchall()
        if "vm" not in [name for _, name, *_ in columns]:
            self._db.execute(_WITHOUT_VM)
        self._ledger = Ledger(self._db)

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Whether there is one."""
        return (folder / _NAME).exists()

    def close(self) -> None:
        """From now on nothing is noted; what that misses is found out again."""
        with self._lock:
            if not self._is_closed:
                self._ledger.catch_up()
            self._is_closed = True
            self._db.close()

    def pulled(self, rule: str) -> dict[str, Pulled]:
        """All that the rule ever pulled, by path; dropped ones too."""
        with self._lock:
            if self._is_closed:
                return {}
            rows = self._db.execute(
                "select * from pulled where rule = ?", (rule,)
            ).fetchall()
        return {one.path: one for one in map(_pulled, rows)}

    def newest(self, rule: str, count: int = 0) -> list[Pulled]:
        """The newest files of a rule that are here as we put them, newest first;
        `count` 0 = all. Looks at the disk."""
        found = sorted(self.pulled(rule).values(), key=by_age)
        here = (one for one in found if one.is_here)
        return [one for one, _ in zip(here, range(count or len(found)), strict=False)]

    def altered(self, rule: str) -> list[Pulled]:
        """The files of a rule that are here, but not as we put them, newest first.
        Looks at the disk."""
        found = []
        for one in sorted(self.pulled(rule).values(), key=by_age):
            now = stat_of(one.local) if one.local is not None else None
            if now is not None and now != one.stat:
                found.append(one)
        return found

    def keep(self, files: Iterable[Pulled]) -> None:
        """Notes what is here now; what was noted of a part of them is forgotten."""
        files = list(files)
        self._write(
            (_KEEP, [_row(one) for one in files]),
            (_DROP_PART, [(one.rule, _stored(one.path)) for one in files]),
        )

    def dropped(self, one: Pulled) -> Pulled:
        """It is not here any more, and not wanted back in this version."""
        gone = replace(one, local=None, stat=None)
        self.keep([gone])
        return gone

    # --- parts of files -----------------------------------------------------------

    def part(self, rule: str, path: str) -> tuple[str, str] | None:
        """What is here of a file that has not arrived whole: (version, ranges)."""
        with self._lock:
            if self._is_closed:
                return None
            row = self._db.execute(
                "select version, ranges from parts where rule = ? and path = ?",
                (rule, _stored(path)),
            ).fetchone()
        return (row[0], row[1]) if row else None

    def keep_part(self, rule: str, path: str, version: str, ranges: str) -> None:
        """What a power cut takes back of it, the file's hash will tell."""
        self._write((_KEEP_PART, [(rule, _stored(path), version, ranges)]))

    def drop_part(self, rule: str, path: str) -> None:
        self._write((_DROP_PART, [(rule, _stored(path))]))

    def parts(self, rule: str) -> list[str]:
        """The paths of which something is here."""
        with self._lock:
            if self._is_closed:
                return []
            rows = self._db.execute("select path from parts where rule = ?", (rule,))
            return [_read(path) for (path,) in rows]

    def rules_with_parts(self) -> list[str]:
        """The names of rules, also of old ones."""
        with self._lock:
            if self._is_closed:
                return []
            rows = self._db.execute("select distinct rule from parts").fetchall()
        return [str(rule) for (rule,) in rows]

    def _write(self, *statements: Statement) -> None:
        with self._lock:
            if not self._is_closed:
                self._ledger.write(*statements)


def by_age(one: Pulled) -> tuple[int, str]:
    """Sorts the newest first; of equal age, by name, so that the order is stable."""
    return (-one.version.mtime_ns, one.path)


def stat_of(path: Path) -> LocalStat | None:
    """None if nothing stands there, or something else than a plain file."""
    try:
        now = os.lstat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(now.st_mode):
        return None
    return LocalStat(now.st_size, now.st_mtime_ns, now.st_ino & _MASK)


def _stored(text: str) -> str | bytes:
    """SQLite's texts are Unicode; a name of other bytes is kept as those."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")
    return text


def _read(stored: object) -> str:
    if isinstance(stored, bytes):
        return stored.decode("utf-8", "surrogateescape")
    return str(stored)


def _row(one: Pulled) -> tuple[str | bytes | int | None, ...]:
    here = one.stat or (None, None, None)
    local = None if one.local is None else _stored(str(one.local))
    path, remote = _stored(one.path), _stored(one.remote)
    return (one.rule, path, remote, *one.version, one.hash, local, *here, one.vm)


def _pulled(row: tuple[Any, ...]) -> Pulled:
    rule, path, remote, *numbers, content_hash, local, size, mtime_ns, ino, vm = row
    return Pulled(
        rule=str(rule),
        path=_read(path),
        remote=_read(remote),
        version=Version(*(int(number or 0) for number in numbers)),
        hash=str(content_hash),
        local=None if local is None else Path(_read(local)),
        stat=None
        if local is None
        else LocalStat(int(size or 0), int(mtime_ns or 0), int(ino or 0)),
        vm=str(vm),
    )
