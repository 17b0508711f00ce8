"""Frames: the only thing that travels between the daemon and its agent.

A frame is a 12-byte header (sequence number, length of meta, length of data), a JSON
object and raw bytes. Replies carry the sequence number of their request; 0 is for
frames that answer nothing. Bytes are protected by SSH, so there is no checksum here.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from typing import Any, BinaryIO, Dict, List, NamedTuple, Optional, Tuple

VERSION = 1
MAGIC = b"\0\0colab-devsync-agent 1\n"

HEADER = struct.Struct(">III")
MAX_META = 32 << 20
MAX_DATA = 128 << 20
_SAMPLE = 16 << 10
_HASH = re.compile(r"[0-9a-f]{32}\Z")

Meta = Dict[str, Any]

# What the agent answers for each entry of a put or delete.
OK = "ok"  # written, durable, at its name
SAME = "same"  # was already so: a lost acknowledgement is never a conflict
CONFLICT = "conflict"  # holds something we did not put there; left alone
NEED_FULL = "need-full"  # the base of a delta is gone
BAD_HASH = "bad-hash"  # the bytes are not what was announced (changed while sent)
REFUSED = "refused"  # the file system or the path rules said no
STALE = "stale"  # another session owns the root now

FILE = "f"
LINK = "l"
DELTA = "d"  # a file, sent as instructions against the base we both know

Result = Tuple[str, str, str]
"""(status, hash the VM holds now or "" if absent, reason)."""


class WireError(Exception):
    """The peer does not follow the protocol."""


class Frame(NamedTuple):
    seq: int
    meta: Meta
    data: bytes


class Entry(NamedTuple):
    """One file of a put. A plain list on the wire, in this order."""

    path: str  # "/"-separated, relative to the root
    kind: str  # FILE, LINK or DELTA
    hash: str  # of the content to be, hex
    size: int  # of the content to be
    executable: Optional[bool]  # None = keep what is there
    accept: List[str]  # hashes the VM may hold now; "" = absent
    length: int  # of this entry's payload in the frame's data
    base: str = ""  # DELTA: hash the instructions apply to


def encode(seq: int, meta: Meta, data: bytes = b"") -> bytes:
    """A whole frame. WireError if the peer would not take it."""
    return head(seq, meta, len(data)) + data


def head(seq: int, meta: Meta, size: int) -> bytes:
    """A frame up to its `size` bytes of data, for senders that need no copy of them."""
    text = json.dumps(meta, separators=(",", ":")).encode("ascii")
    if len(text) > MAX_META or size > MAX_DATA:
        raise WireError("%d + %d bytes do not fit a frame" % (len(text), size))
    return HEADER.pack(seq, len(text), size) + text


def read_frame(reader: BinaryIO) -> Optional[Frame]:
    """The next frame, or None at a clean end. WireError for anything else.

    `reader.read(n)` must block until `n` bytes or the end (a BufferedReader does).
    """
    head = reader.read(HEADER.size)
    if not head:
        return None
    if len(head) < HEADER.size:
        raise WireError("the stream ended inside a frame header")
    seq, meta_len, data_len = HEADER.unpack(head)
    if meta_len > MAX_META or data_len > MAX_DATA:
        raise WireError("a frame announces %d + %d bytes" % (meta_len, data_len))
    text, data = reader.read(meta_len), reader.read(data_len)
    if len(text) + len(data) < meta_len + data_len:
        raise WireError("the stream ended inside a frame")
    return Frame(seq, _parse(text), data)


def _parse(text: bytes) -> Meta:
    try:
        meta = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise WireError("a frame's meta is not JSON: %s" % exc) from exc
    if not isinstance(meta, dict):
        raise WireError("a frame's meta is not an object")
    return meta


def deflate(data: bytes) -> Tuple[bytes, bool]:
    """Compresses if that pays; the flag goes into the frame's meta as "z"."""
    if len(data) < 64 or _is_dense(data):
        return data, False
    packed = zlib.compress(data, 1)
    if len(packed) < len(data) * 0.95:
        return packed, True
    return data, False


def _is_dense(data: bytes) -> bool:
    """Whether a sample from the middle does not compress (images, archives)."""
    if len(data) < 4 * _SAMPLE:
        return False
    middle = len(data) // 2
    sample = data[middle : middle + _SAMPLE]
    return len(zlib.compress(sample, 1)) > 0.95 * len(sample)


def inflate(frame: Frame) -> bytes:
    """The frame's data, decompressed within MAX_DATA. WireError if it is damaged."""
    if not frame.meta.get("z"):
        return frame.data
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(frame.data, MAX_DATA)
    except zlib.error as exc:
        raise WireError("a frame's data does not decompress: %s" % exc) from exc
    if not unpacker.eof:
        raise WireError("a frame's data is cut off or too large")
    return data


def entries_of(meta: Meta) -> List[Entry]:
    """The entries of a put. WireError if one is malformed."""
    try:
        found = [Entry(*raw) for raw in meta["entries"]]
    except (KeyError, TypeError) as exc:
        raise WireError("malformed entries: %s" % exc) from exc
    for entry in found:
        if not _is_sound(entry):
            raise WireError("malformed entry: %r" % (entry,))
    return found


def _is_sound(entry: Entry) -> bool:
    return (
        isinstance(entry.path, str)
        and entry.kind in (FILE, LINK, DELTA)
        # The hash becomes part of a file's name.
        and isinstance(entry.hash, str)
        and _HASH.match(entry.hash) is not None
        and isinstance(entry.size, int)
        and entry.size >= 0
        and entry.executable in (None, True, False)
        and isinstance(entry.accept, list)
        and isinstance(entry.length, int)
        and entry.length >= 0
        and isinstance(entry.base, str)
        and (entry.kind != DELTA or entry.base != "")
    )
