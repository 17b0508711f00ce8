"""Unpacks an archive that was pushed into its folder, on a thread of its own.

Nothing is written outside the folder, no link is followed and none leads out, and the
disk is not filled: what would do so ends the unpacking, and what it had added is
removed. Begun anew after a cut, it goes on where it was.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import threading
from typing import Any, BinaryIO, Dict, Iterator, List, cast

assert sys.platform != "win32"  # runs on the VM only

from . import archives, hashing, wire
from .archives import Archive, BadArchive, Member
from .deposit import FOLDER, SAME, Deposit, Wanted, Wish
from .ownership import Stale
from .paths import UnsafePath, link_stays_inside
from .refusal import in_words

_BLOCK = 1 << 20
_RESERVE = 32 << 20  # bytes of the disk that stay free
_MAX_SKIPPED = 100


class Unpacking:
    """Starts at once; `state` tells how far it is, from any thread."""

    def __init__(self, deposit: Deposit, wanted: Wanted, source: str) -> None:
        """`wanted`: the archive. `source` as for its pieces; "": it has been put at
        its name already, and stays there."""
        self._deposit = deposit
        self._wanted = wanted
        self._source = source
        self._room = 0
        self._files = self._bytes = self._same = self._done = self._total = 0
        self._skipped: List[str] = []
        self._made: List[str] = []  # paths that were not there before
        self._replaced = 0  # files that were
        self._error = ""
        self._goes_on = False
        self.is_over = False
        threading.Thread(target=self._run, name="devsync-unpack", daemon=True).start()

    def state(self) -> Dict[str, Any]:
        return {
            "over": self.is_over,
            "failure": self._error,
            "files": self._files,
            "bytes": self._bytes,
            "same": self._same,
            "done": self._done,
            "total": self._total,
            "skipped": self._skipped[:_MAX_SKIPPED],
            "replaced": self._replaced,
            "kept": self._goes_on,
        }

    def _run(self) -> None:
        try:
            self._try()
        except Exception as exc:  # noqa: BLE001 - a bug, or a disk: the client is told
            self._error = "unpacking failed inside: %r" % exc
        self.is_over = True

    def _try(self) -> None:
        try:
            self._open_and_unpack()
        except BadArchive as exc:
            self._error = str(exc)
            self._undo()
            self._deposit.drop(self._wanted.path)  # it will not become better
        except Stale as exc:
            self._error = str(exc)
        except UnsafePath as exc:
            self._error = str(exc)
            self._undo()
        except OSError as exc:
            self._error = in_words(exc)
            self._goes_on = True  # the archive stays: it need not be sent again
            self._undo()

    def _open_and_unpack(self) -> None:
        wanted, deposit = self._wanted, self._deposit
        fd = deposit.opened(wanted, self._source)
        with os.fdopen(fd, "rb") as stream:
            goes_on = deposit.goes_on(wanted)
            self._total = os.fstat(fd).st_size
            archive = Archive(stream)
            try:
                self._unpack(archive, stream, goes_on)
            finally:
                archive.close()
        deposit.unpacked(wanted)
        if self._source:
            deposit.drop(wanted.path)

    def _unpack(self, archive: Archive, stream: BinaryIO, goes_on: bool) -> None:
        self._room = shutil.disk_usage(self._deposit.base).free - _RESERVE
        size = archive.size
        if size is not None:
            self._total = size
            if not goes_on and size > self._room:
                self._refuse_size(size)
        for member in archive:
            self._take(archive, member, goes_on)
            if size is None:
                self._done = min(stream.tell(), self._total)

    def _refuse_size(self, needed: int) -> None:
        raise BadArchive(
            "it needs %s unpacked, and %s has %s free"
            % (_shown(needed), self._deposit.base, _shown(max(0, self._room)))
        )

    def _take(self, archive: Archive, member: Member, goes_on: bool) -> None:
        path = member.path
        if not path or (goes_on and self._is_there(member)):
            return
        if member.kind == archives.FOLDER:
            self._put(Wanted(path, FOLDER, "", 0, None, 0), b"")
        elif member.kind == archives.LINK:
            self._put_link(path, member.target)
        elif member.kind == archives.HARD_LINK:
            self._put_copy(member)
        elif member.kind == archives.FILE:
            with archive.open(member) as content:
                blocks = self._blocks(cast(BinaryIO, content), member)
                self._put_file(member, member.size, blocks)
        else:
            self._skip(path, "neither a file, a folder nor a link")

    def _is_there(self, member: Member) -> bool:
        """Whether an earlier attempt has unpacked it."""
        if member.kind != archives.FILE:
            return False
        facts = (member.size, member.mtime_ns, member.executable, "")
        if self._deposit.look([list(Wish(member.path, wire.FILE, *facts))]) != [SAME]:
            return False
        self._same += 1
        self._done += member.size
        return True

    def _put_copy(self, member: Member) -> None:
        """For a hard link: what one path does must not show at the other."""
        try:
            fd = self._deposit.reading(member.target)
        except OSError as exc:
            if exc.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            self._skip(member.path, "%s, the file it is, is not there" % member.target)
            return
        with os.fdopen(fd, "rb") as stream:
            blocks = iter(lambda: stream.read(_BLOCK), b"")
            self._put_file(member, os.fstat(fd).st_size, blocks)

    def _put_link(self, path: str, target: str) -> None:
        if not link_stays_inside(path, target):
            self._skip(path, "the link leads out of the folder")
            return
        payload = target.encode("utf-8", "surrogateescape")
        found = hashing.of_link(target)
        wanted = Wanted(path, wire.LINK, found, len(payload), None, 0, len(payload))
        self._put(wanted, payload)

    def _put(self, wanted: Wanted, payload: bytes) -> None:
        self._note(wanted.path, wanted.kind, self._deposit.put([wanted], payload)[0])

    def _put_file(self, member: Member, size: int, blocks: Iterator[bytes]) -> None:
        if size > self._room:
            self._refuse_size(size)
        self._room -= size
        about = (size, member.executable, member.mtime_ns)
        wanted = Wanted(member.path, wire.FILE, "", *about)
        self._note(member.path, wire.FILE, self._deposit.write(wanted, blocks))
        self._bytes += size
        self._done += size

    def _note(self, path: str, kind: str, result: wire.Result) -> None:
        status, _, reason = result
        if status == wire.STALE:
            raise Stale(reason)
        if status != wire.OK:
            self._skip(path, reason)
        elif kind != FOLDER:
            self._files += 1
            if reason:
                self._replaced += 1
            else:
                self._made.append(path)

    def _skip(self, path: str, reason: str) -> None:
        shown = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        self._skipped.append("%s: %s" % (shown, reason))

    def _blocks(self, content: BinaryIO, member: Member) -> Iterator[bytes]:
        left = member.size
        while left > 0:
            block = archives.read(content, min(_BLOCK, left), member.path)
            if not block:
                raise BadArchive("the archive is damaged at %s (cut)" % member.path)
            left -= len(block)
            yield block
        archives.read(content, 1, member.path)  # at its end, a zip's sum is compared

    def _undo(self) -> None:
        """Takes away what was not there before."""
        for path in self._made:
            self._deposit.remove(path)
        self._made.clear()
        self._files = self._bytes = 0


def _shown(size: int) -> str:
    return "%.1f MB" % (size / 1e6) if size < 10**9 else "%.1f GB" % (size / 1e9)
