"""What goes to disk early is still the file that was written."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from colab_devsync.agent import write_behind
from colab_devsync.agent.write_behind import WriteBehind

PIECE = 1 << 20


def test_linux_has_it() -> None:
    assert (write_behind._sync_file_range is not None) == (sys.platform == "linux")


def test_many_threads_write_one_file(tmp_path: Path) -> None:
    name = tmp_path / "checkpoint.pt"
    blocks = [os.urandom(PIECE) for _ in range(40)]  # more than may be behind
    with name.open("wb") as stream:
        disk = WriteBehind(stream.fileno())

        def write(number: int) -> None:
            os.pwrite(stream.fileno(), blocks[number], number * PIECE)
            disk.wrote(number * PIECE, PIECE)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(len(blocks))))
    assert name.read_bytes() == b"".join(blocks)


def test_a_pipe_cannot_and_need_not() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"x")
    WriteBehind(writing).wrote(0, write_behind._STEP)
    assert os.read(reading, 1) == b"x"
    os.close(reading)
    os.close(writing)
