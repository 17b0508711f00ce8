"""What to do with one path. Values and pure decisions; no I/O, no clock of its own.

Named tuples, here and in `engine/mirroring/transfer.py`: a first mirror makes ten such
values for each file, and a frozen dataclass takes four times as long to make.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, NamedTuple

Kind = Literal["f", "l"]

SMALL = 256 << 10  # bytes; sent whole, on the control channel if there are few
RACY_NS = 2_000_000_000  # coarsest time stamps of common file systems (FAT: 2 s)


class LocalStat(NamedTuple):
    """What a look at a local file or link tells without reading it."""

    kind: Kind
    size: int
    mtime_ns: int
    inode: int
    executable: bool | None  # None where the file system has no such bit


class Known(NamedTuple):
    """A file the VM acknowledged, and the local stat when its content was read."""

    hash: str
    stat: LocalStat
    looked_ns: int  # wall clock when the content was read

    def is_current(self, now: LocalStat) -> bool:
        """Whether the local file surely still has this content.

        A time stamp too close to the look may hide a later write (git calls such an
        entry racily clean); then only hashing tells.
        """
        return self.stat == now and now.mtime_ns + RACY_NS < self.looked_ns


def accept_set(
    known: Known | None, sent: Collection[str], extra: Collection[str]
) -> list[str]:
    """The hashes the VM may hold now: the acknowledged one and all on their way.

    A lost acknowledgement is then never a conflict; "" means absent.
    """
    base = known.hash if known is not None else ""
    return list(dict.fromkeys((base, *sent, *extra)))
