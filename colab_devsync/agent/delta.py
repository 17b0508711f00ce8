"""How a large file becomes its next version: instructions, and who carries them out.

The sender makes them (core/delta.py), the VM applies them to what it holds.
"""

from __future__ import annotations

import json
import struct
from typing import BinaryIO, Callable, List, Sequence

_COUNT = struct.Struct(">I")

Op = Sequence[int]
"""[offset, length] copies from the base; [length] takes the next literal bytes."""


class DeltaError(Exception):
    """The instructions do not fit the base."""


def pack(ops: List[Op], literal: bytes) -> bytes:
    """Instructions and literal bytes as one payload."""
    text = json.dumps(ops, separators=(",", ":")).encode("ascii")
    return _COUNT.pack(len(text)) + text + literal


def apply(payload: bytes, base: BinaryIO, write: Callable[[bytes], object]) -> None:
    """Carries out a packed delta. DeltaError if it does not fit or is malformed."""
    try:
        (length,) = _COUNT.unpack_from(payload)
        ops = _checked(json.loads(payload[_COUNT.size : _COUNT.size + length]))
    except (struct.error, ValueError, TypeError, RecursionError) as exc:
        raise DeltaError("malformed delta: %s" % exc) from exc
    position = _COUNT.size + length
    for op in ops:
        if len(op) == 2:
            _copy(base, op[0], op[1], write)
        elif position + op[0] > len(payload):
            raise DeltaError("the delta is cut off")
        else:
            write(payload[position : position + op[0]])
            position += op[0]


def _checked(ops: List[Op]) -> List[Op]:
    """ValueError, TypeError unless each is one or two natural numbers."""
    for op in ops:
        if len(op) not in (1, 2) or not all(0 <= number < 1 << 62 for number in op):
            raise ValueError("no instruction: %r" % (op,))
        if not all(isinstance(number, int) for number in op):
            raise ValueError("no instruction: %r" % (op,))
    return ops


def _copy(
    base: BinaryIO, offset: int, length: int, write: Callable[[bytes], object]
) -> None:
    base.seek(offset)
    while length > 0:
        data = base.read(min(length, 1 << 20))
        if not data:
            raise DeltaError("the base is shorter than the delta says")
        write(data)
        length -= len(data)
