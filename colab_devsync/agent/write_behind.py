"""Brings a large file to disk while it still arrives; both ends use it.

Left to the kernel, half a minute of data waits in memory. The fsync at the end then
takes as long as the transfer did, and so does everybody else's: ext4 commits what all
have written. Linux only; elsewhere the fsync does all.
"""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from typing import Any, Deque, Tuple

_BEHIND = 16 << 20  # bytes that may be on their way to the disk
_BEGIN, _FINISH = 2, 1 | 2 | 4  # SYNC_FILE_RANGE_*, see sync_file_range(2)


def _found() -> Any:
    try:
        function = ctypes.CDLL(None).sync_file_range
    except (AttributeError, OSError, TypeError):  # not Linux
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
        self._begun: Deque[Tuple[int, int]] = deque()  # offset, size
        self._size = 0

    def wrote(self, offset: int, size: int) -> None:
        """These bytes are in the file; waits while too many are not on disk. That it
        failed shows at the fsync."""
        if _sync_file_range is None:
            return
        _sync_file_range(self._fd, offset, size, _BEGIN)
        with self._lock:
            self._begun.append((offset, size))
            self._size += size
            if self._size <= _BEHIND:
                return
            oldest = self._begun.popleft()
            self._size -= oldest[1]
        _sync_file_range(self._fd, *oldest, _FINISH)
