"""Brings a large file to disk while it still arrives; both ends use it.

Left to the kernel, half a minute of data waits in memory. The fsync at the end then
takes as long as the transfer did, and so does everybody else's: ext4 commits what all
have written. Linux only; elsewhere the fsync does all.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, Deque, NamedTuple

_STEP = 4 << 20  # bytes that are sent on their way together
_BEHIND = 8  # steps that may be on their way to the disk
_BEGIN, _FINISH = 2, 1 | 2 | 4  # SYNC_FILE_RANGE_*, see sync_file_range(2)


class _Step(NamedTuple):
    """So many written bytes between these two places."""

    start: int
    end: int
    size: int

    def with_more(self, offset: int, size: int) -> "_Step":
        if not self.size:
            return _Step(offset, offset + size, size)
        end = max(self.end, offset + size)
        return _Step(min(self.start, offset), end, self.size + size)


_NOTHING = _Step(0, 0, 0)


def _found() -> Any:
    try:
        import ctypes

        function = ctypes.CDLL(None).sync_file_range
    except (ImportError, AttributeError, OSError, TypeError):  # not Linux
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return function


_sync_file_range = _found()


class WriteBehind:
    """One file's. Any thread may call."""

    def __init__(self, fd: int) -> None:
        """`fd` must stay open while others call."""
        self._fd = fd
        self._lock = threading.Lock()
        self._fresh = _NOTHING  # written, and left to the kernel so far
        self._begun: Deque[_Step] = deque()

    def wrote(self, offset: int, size: int) -> None:
        """These bytes are in the file; waits while too many are not on disk. That it
        failed shows at the fsync."""
        if _sync_file_range is None:
            return
        with self._lock:
            step = self._fresh.with_more(offset, size)
            self._fresh = step if step.size < _STEP else _NOTHING
            if step.size < _STEP:
                return
            self._begun.append(step)
            oldest = self._begun.popleft() if len(self._begun) > _BEHIND else None
        _sync_file_range(self._fd, step.start, step.end - step.start, _BEGIN)
        if oldest is not None:
            length = oldest.end - oldest.start
            _sync_file_range(self._fd, oldest.start, length, _FINISH)
