"""A session's memory on disk: what the VM acknowledged, what is on its way.

SQLite with a write-ahead log, one file per project and profile. Which hashes were
sent is written before they leave, so that after any crash the VM is never accused of
an edit that was ours. What is dirty needs no journal: the walk at start finds it.
Any thread may call; a lock keeps transactions apart.
"""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from ..agent import hashing
from ..core.delta import Signature
from ..core.events import Conflict
from ..core.plan import Known, LocalStat
from .ledger import Ledger, all_of, one

_SCHEMA = """
create table if not exists meta (key text primary key, value text not null);
create table if not exists files (
  path text primary key, hash text not null, kind text not null, size integer not null,
  mtime_ns integer not null, inode integer not null, executable integer,
  looked_ns integer not null) without rowid;
create table if not exists signatures (
  path text primary key, hash text, size integer, records blob);
create table if not exists sent (
  path text, hash text, primary key (path, hash)) without rowid;
create table if not exists conflicts (
  path text primary key, local_hash text, remote_hash text, since real,
  remote_copy text);
"""
_KEEP_FILE = "insert or replace into files values (?, ?, ?, ?, ?, ?, ?, ?)"
_KEEP_SENT = "insert or ignore into sent values (?, ?)"
_VERSION = "2"  # 2: checksums in signatures


def peek(folder: Path, key: str) -> str | None:
    """A small fact of a store that another process may have open; None if absent."""
    path = folder / "state.db"
    if not path.exists():
        return None
    # Not read-only: a write-ahead log that nobody has open needs its index made.
    with closing(sqlite3.connect(path)) as db:
        try:
            row = db.execute("select value from meta where key = ?", (key,)).fetchone()
        except sqlite3.OperationalError:  # no tables yet
            return None
    return str(row[0]) if row else None


class Store:
    """The tables, with the small ones mirrored in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._db = sqlite3.connect(
            folder / "state.db", isolation_level=None, check_same_thread=False
        )
        self._db.execute("pragma journal_mode = wal")
        # A commit reaches the operating system, so it survives our crash; `note_sent`
        # asks for more. What a power cut can take back is never a file.
        self._db.execute("pragma synchronous = normal")
        self._db.executescript(_SCHEMA)
        self._ledger = Ledger(self._db)
        self.sent: dict[str, list[str]] = {}
        self.known: dict[str, Known] = {}
        self.folders: Counter[str] = Counter()  # every folder with known files below it
        self.digest = 0
        self._take_over(self._read_known())
        for path, content_hash in self._db.execute("select path, hash from sent"):
            self.sent.setdefault(path, []).append(content_hash)
        self._start_over_if_foreign()
        self.client_id = self._client_id()

    def close(self) -> None:
        with self._lock:
            self._ledger.catch_up()
            self._db.close()

    def catch_up(self) -> None:
        """Writes what the disk refused before, if anything."""
        with self._lock:
            self._ledger.catch_up()

    @property
    def refusal(self) -> str | None:
        """Why the disk here takes no notes at the moment."""
        return self._ledger.refusal

    # --- small facts --------------------------------------------------------------

    def get(self, key: str) -> str | None:
        with self._lock:
            row = self._db.execute(
                "select value from meta where key = ?", (key,)
            ).fetchone()
        return row[0] if row else None

    def set(self, key: str, value: str) -> None:
        with self._lock:
            self._ledger.write(
                one("insert or replace into meta values (?, ?)", key, value)
            )

    def _client_id(self) -> str:
        found = self.get("client")
        if found is None:
            found = uuid.uuid4().hex
            self.set("client", found)
        return found

    def _start_over_if_foreign(self) -> None:
        if self.get("version") not in (None, _VERSION):
            self.forget_vm()  # a full comparison with the VM replaces what we knew
        self.set("version", _VERSION)

    # --- what the VM acknowledged -------------------------------------------------

    def acknowledge(
        self,
        files: Sequence[tuple[str, Known]],
        deleted: Iterable[str] = (),
        still_sent: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Writes what the VM now holds; of what was sent only `still_sent` is left."""
        deleted = list(deleted)
        gone = [(path,) for path in deleted]
        settled = [(path,) for path, _ in files] + gone
        with self._lock:
            self._ledger.write(
                (_KEEP_FILE, [_row(path, known) for path, known in files]),
                ("delete from files where path = ?", gone),
                ("delete from signatures where path = ?", gone),
                ("delete from sent where path = ?", settled),
                (_KEEP_SENT, list(still_sent)),
            )
            self._take_over([*files, *((path, None) for path in deleted)])
            for (path,) in settled:
                self.sent.pop(path, None)
            for path, content_hash in still_sent:
                self.sent.setdefault(path, []).append(content_hash)

    def _take_over(self, changes: Iterable[tuple[str, Known | None]]) -> None:
        more: Counter[str] = Counter()  # known files, by their folder
        for path, known in changes:
            folder = path.rpartition("/")[0]
            old = self.known.pop(path, None)
            if old is not None:
                token = hashing.token(path, old.hash)
                self.digest = hashing.add(self.digest, -token)
                more[folder] -= 1
            if known is not None:
                self.known[path] = known
                token = hashing.token(path, known.hash)
                self.digest = hashing.add(self.digest, token)
                more[folder] += 1
        for folder, count in more.items():
            self._count(folder, count)

    def _count(self, folder: str, by: int) -> None:
        while folder and by:
            self.folders[folder] += by
            if not self.folders[folder]:
                del self.folders[folder]
            folder = folder.rpartition("/")[0]

    def _read_known(self) -> Iterable[tuple[str, Known]]:
        for path, content_hash, *fields, looked_ns in self._db.execute(
            "select * from files"
        ):
            kind, size, mtime_ns, inode, executable = fields
            flag = None if executable is None else bool(executable)
            yield (
                path,
                Known(
                    content_hash,
                    LocalStat(kind, size, mtime_ns, inode, flag),
                    looked_ns,
                ),
            )

    def forget_vm(self) -> None:
        """Another VM: nothing is known of it, and no deletion is owed to it."""
        with self._lock:
            self._ledger.write(*all_of(("files", "signatures", "sent", "conflicts")))
            self.known, self.sent, self.digest = {}, {}, 0
            self.folders.clear()

    # --- what is on its way -------------------------------------------------------

    def note_sent(self, hashes: Sequence[tuple[str, str]], *, durable: bool) -> None:
        """To be called before the bytes leave. `durable` survives a power cut too, for
        the price of an fsync; without it a file could then be taken for a conflict."""
        with self._lock:
            fresh = [
                pair for pair in hashes if pair[1] not in self.sent.get(pair[0], ())
            ]
            if not fresh:
                return
            self._db.execute(f"pragma synchronous = {'full' if durable else 'normal'}")
            self._ledger.write((_KEEP_SENT, fresh))
            self._db.execute("pragma synchronous = normal")
            for path, content_hash in fresh:
                self.sent.setdefault(path, []).append(content_hash)

    def drop_sent(self, path: str) -> None:
        """The VM told what it holds, and it is none of these."""
        with self._lock:
            if self.sent.pop(path, None):
                self._ledger.write(one("delete from sent where path = ?", path))

    # --- signatures of large files ------------------------------------------------

    def signature(self, path: str, content_hash: str) -> Signature | None:
        """The signature of exactly this version, if it is kept."""
        with self._lock:
            row = self._db.execute(
                "select size, records from signatures where path = ? and hash = ?",
                (path, content_hash),
            ).fetchone()
        return Signature(*row) if row else None

    def keep_signature(
        self, path: str, content_hash: str, signature: Signature
    ) -> None:
        with self._lock:
            row = (path, content_hash, signature.size, signature.records)
            self._ledger.write(
                one("insert or replace into signatures values (?, ?, ?, ?)", *row)
            )

    def drop_signature(self, path: str) -> None:
        with self._lock:
            self._ledger.write(one("delete from signatures where path = ?", path))

    # --- conflicts ----------------------------------------------------------------

    def conflicts(self) -> dict[str, Conflict]:
        with self._lock:
            return {
                row[0]: Conflict(*row)
                for row in self._db.execute("select * from conflicts")
            }

    def keep_conflict(self, conflict: Conflict) -> None:
        row = (
            conflict.path,
            conflict.local_hash,
            conflict.remote_hash,
            conflict.since,
            conflict.remote_copy,
        )
        with self._lock:
            self._ledger.write(
                one("insert or replace into conflicts values (?, ?, ?, ?, ?)", *row)
            )

    def drop_conflict(self, path: str) -> None:
        with self._lock:
            self._ledger.write(one("delete from conflicts where path = ?", path))


def _row(path: str, known: Known) -> tuple[str | int | None, ...]:
    stat = known.stat
    return (
        path,
        known.hash,
        stat.kind,
        stat.size,
        stat.mtime_ns,
        stat.inode,
        stat.executable,
        known.looked_ns,
    )
