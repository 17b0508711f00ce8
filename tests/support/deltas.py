"""Packed deltas, made as the daemon makes them."""

from __future__ import annotations

from colab_devsync.agent.delta import pack
from colab_devsync.core import delta


def signed(data: bytes) -> delta.Signature:
    return delta.sign(delta.blocks(data), len(data))


def packed(old: bytes, new: bytes) -> bytes:
    view = memoryview(new)
    ops, literals = delta.make(signed(old), view, new.find, signed(new))
    return pack(ops, b"".join(view[start:end] for start, end in literals))
