"""Hashes both sides must agree on: of contents, and of whole manifests.

A manifest's digest is the sum of its entries' tokens, so one changed file costs one
addition however large the tree is. It guards against loss, not against an attacker:
whoever can write to the VM owns it.
"""

from __future__ import annotations

import hashlib
from typing import BinaryIO, Dict, Iterable, Tuple, Union

DIGITS = 32  # of SHA-256, which processors have instructions for
CHUNK = 1 << 20
_MODULUS = 1 << 128


def of_bytes(data: "Union[bytes, memoryview]") -> str:
    """The content hash, 32 hex digits."""
    return hashlib.sha256(data).hexdigest()[:DIGITS]


def of_link(target: str) -> str:
    """The hash of a symbolic link; never equals that of a file with the same bytes."""
    return of_bytes(b"symlink\0" + target.encode("utf-8", "surrogateescape"))


def of_stream(stream: BinaryIO) -> str:
    """The content hash of what is left to read."""
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read(CHUNK), b""):
        digest.update(block)
    return digest.hexdigest()[:DIGITS]


def token(path: str, content_hash: str) -> int:
    """What one manifest entry adds to a digest; 0 for an absent file."""
    if not content_hash:
        return 0
    text = path.encode("utf-8", "surrogateescape") + b"\0" + content_hash.encode()
    return int.from_bytes(hashlib.sha256(text).digest(), "big") % _MODULUS


def add(digest: int, value: int) -> int:
    """`value` may be negative: taking an entry out."""
    return (digest + value) % _MODULUS


def as_text(digest: int) -> str:
    """A digest as it travels."""
    return "%032x" % digest


def folder_digests(manifest: Iterable[Tuple[str, str]]) -> Dict[str, str]:
    """Digest per folder ("" is the root) of (path, hash) pairs."""
    sums: Dict[str, int] = {}
    for path, content_hash in manifest:
        folder = path.rpartition("/")[0]
        sums[folder] = add(sums.get(folder, 0), token(path, content_hash))
    return {folder: as_text(value) for folder, value in sums.items() if value}
