"""Starts the keepers of runs, and has one ready, so that a run need not wait for it.

A Python takes longer to start than most first lines take to come. The one that waits
has a lock file of its own, which becomes the run's; if the agent ends, so does it.
Any thread.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import subprocess
import sys
import threading
from typing import IO, Any, Dict, NamedTuple, Optional, cast

assert sys.platform != "win32"  # runs on the VM only

from . import keeper

_START_S = 20.0  # for a keeper to say that the program runs
_READY_S = 0.02  # after a start, until the next one is made ready
_SPARE = "keeper-"  # begins the names of their lock files
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
# What follows the source on stdin is not for this reader's buffer.
_STAGE = """\
import os, sys
left, source = int(sys.argv[1]), b""
while left > len(source):
    source += os.read(0, left - len(source)) or os._exit(1)
exec(source)
"""


class TooSlow(Exception):
    """The program does not run, and will not."""


class _Waiting(NamedTuple):
    """A keeper that has not been told what to start."""

    process: "subprocess.Popen[bytes]"
    lock: int
    lock_path: str

    def discard(self) -> None:
        """It ends when nothing more can come."""
        _close(self.process)
        os.close(self.lock)
        try:
            os.unlink(self.lock_path)
        except OSError:
            pass  # moved away with all of the root


class Keepers:
    def __init__(self, state: str) -> None:
        """`state`: our folder in the root."""
        self._state = state
        self._serial = itertools.count(1)
        self._lock = threading.Lock()
        self._ready: Optional[_Waiting] = None
        self._remove_left_over()

    def prepare_soon(self) -> None:
        """Has one ready, when what is being done now is over."""
        timer = threading.Timer(_READY_S, self._prepare)
        timer.name, timer.daemon = "devsync-keeper", True
        timer.start()

    def _prepare(self) -> None:
        with self._lock:
            if self._ready is not None:
                return
            try:
                self._ready = self._spawn()
            except OSError:
                pass  # no room on the disk, or for processes: a run will say so

    def start(self, lock_path: str, spec: Dict[str, Any]) -> Dict[str, Any]:
        """A keeper that holds the lock at `lock_path` and has the program started: {}
        once that runs, or why it does not. TooSlow, OSError."""
        with self._lock:
            waiting, self._ready = self._ready, None
        packed = json.dumps(spec).encode()
        if waiting is None or not _told(waiting, lock_path, packed):
            waiting = self._spawn()
            if not _told(waiting, lock_path, packed):
                raise TooSlow("the run's keeper ended before it was told what to start")
        self.prepare_soon()
        return _answer(waiting)

    def _spawn(self) -> _Waiting:
        name = "%s%d-%d" % (_SPARE, os.getpid(), next(self._serial))
        path = os.path.join(self._state, name)
        source = _source()
        argv = [sys.executable, "-I", "-S", "-c", _STAGE]
        lock = os.open(path, os.O_RDWR | os.O_CREAT | _CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            process = subprocess.Popen(
                [*argv, str(len(source)), str(lock)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=[lock],
                cwd="/",
            )
        except BaseException:
            os.close(lock)
            os.unlink(path)
            raise
        waiting = _Waiting(process, lock, path)
        try:
            _stdin(process).write(source)
            _stdin(process).flush()
        except BrokenPipeError:
            pass  # `_told` finds out
        return waiting

    def _remove_left_over(self) -> None:
        """Lock files of keepers that waited for an agent that was killed."""
        for name in os.listdir(self._state):
            path = os.path.join(self._state, name)
            if name.startswith(_SPARE) and not is_locked(path):
                os.unlink(path)


def is_locked(path: str) -> bool:
    """Whether somebody holds that lock; nobody does if it is not there."""
    try:
        lock = os.open(path, os.O_RDONLY | _CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def _told(waiting: _Waiting, lock_path: str, packed: bytes) -> bool:
    """Whether the keeper knows now what to start; else it is gone and knows nothing."""
    try:
        os.rename(waiting.lock_path, lock_path)
        stdin = _stdin(waiting.process)
        stdin.write(packed)
        stdin.close()
    except OSError:  # somebody killed it, or removed the root under it
        waiting.discard()
        return False
    return True


def _answer(waiting: _Waiting) -> Dict[str, Any]:
    process = waiting.process
    try:
        process.stdin = None  # closed
        answer, _ = process.communicate(timeout=_START_S)
    except subprocess.TimeoutExpired:
        # Without its folder the keeper will start nothing that lasts.
        process.kill()
        _close(process)
        raise TooSlow("the VM took too long to start it") from None
    finally:
        os.close(waiting.lock)
    try:
        return cast(Dict[str, Any], json.loads(answer))
    except ValueError:
        return {"failed": "the run's keeper did not start (%d)" % process.returncode}


def _close(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout):
        try:
            if pipe:
                pipe.close()
        except OSError:
            pass  # what could not be written any more
    process.wait()


def _stdin(process: "subprocess.Popen[bytes]") -> IO[bytes]:
    assert process.stdin is not None
    return process.stdin


def _source() -> bytes:
    """The keeper's program, out of memory as we are ourselves."""
    loader: Any = keeper.__spec__.loader if keeper.__spec__ else None
    return cast(str, loader.get_source(keeper.__name__)).encode()
