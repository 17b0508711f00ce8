"""Who may write to a root: one client, and of its agents only the newest.

A dropped tunnel can leave an agent alive that still has saves in its pipe. Each new
agent raises the epoch in the lock file; a write of an older epoch is refused.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import threading
from typing import Any, Dict

assert sys.platform != "win32"  # runs on the VM only

from . import predecessor


class Stale(Exception):
    """A newer agent owns the root."""


class Taken(Exception):
    """Another client's agent is alive on this root; the message names it."""


class Ownership:
    """Entered around every step that changes the tree."""

    def __init__(self, state_path: str) -> None:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        self._lock_fd = os.open(os.path.join(state_path, "lock"), flags, 0o600)
        self._alive_fd = os.open(os.path.join(state_path, "alive"), flags, 0o600)
        self._thread_lock = threading.Lock()
        self.epoch = 0

    def take(
        self, client: str, shown: str, session: str = "", attempt: int = 0
    ) -> None:
        """Becomes the owner. Taken if another client's agent is alive. `session`: what
        connected; if it did before, that connection is dead, whatever it looks like;
        unless that was a later `attempt`: then it is ours that is dead."""
        with self._flock():
            owner = self._read()
            ours = owner.get("client") == client
            again = bool(session) and owner.get("session") == session
            if again and int(owner.get("attempt", 0)) > attempt:
                # We were slow to start, and the tunnel broke meanwhile.
                raise Taken(shown + ", by a newer connection")
            if not self._hold_alive():
                if not ours:
                    raise Taken(str(owner.get("shown") or "another client"))
                # An agent whose tunnel broke has it still, but not for long.
                if again:
                    predecessor.hang_up(owner.get("connection"))
                threading.Thread(
                    target=self._await_alive, name="devsync-alive", daemon=True
                ).start()
            self.epoch = int(owner.get("epoch", 0)) + 1
            owner = {"epoch": self.epoch, "client": client, "shown": shown}
            owner.update(session=session, attempt=attempt)
            owner.update(connection=predecessor.connection())
            self._write(owner)

    def _hold_alive(self) -> bool:
        try:
            fcntl.flock(self._alive_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _await_alive(self) -> None:
        fcntl.flock(self._alive_fd, fcntl.LOCK_EX)

    def is_current(self) -> bool:
        """Whether nobody took the root over; a look, not a lock."""
        return self._read().get("epoch") == self.epoch

    def __enter__(self) -> None:
        self._thread_lock.acquire()
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
            if self._read().get("epoch") != self.epoch:
                raise Stale("the root was taken over by a newer connection")
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *exc: object) -> None:
        fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
        self._thread_lock.release()

    def _flock(self) -> "_Flock":
        return _Flock(self._lock_fd)

    def _read(self) -> Dict[str, Any]:
        text = os.pread(self._lock_fd, 4096, 0)
        try:
            owner = json.loads(text)
        except ValueError:
            return {}  # empty, or torn by a crash: nobody owns it
        return owner if isinstance(owner, dict) else {}

    def _write(self, owner: Dict[str, Any]) -> None:
        text = json.dumps(owner).encode("ascii")
        os.pwrite(self._lock_fd, text, 0)
        os.ftruncate(self._lock_fd, len(text))


class _Flock:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *exc: object) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)
