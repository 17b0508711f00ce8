"""Where one end-to-end test lives: its folders, its environment, its daemon."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from colab_devsync.daemon.lock import FileLock
from tests.e2e.wire_client import TIMEOUT_S, Editor

SANDBOX = '[link]\nprovider = "sandbox"\n'


class Place:
    """Where one test's daemon lives, and how to reach it."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self.home = home
        self.runtime = folder / "run"
        self.env = {
            **os.environ,
            "HOME": str(home),
            "COLAB_DEVSYNC_RUNTIME_DIR": str(self.runtime),
            "COLAB_DEVSYNC_STATE_DIR": str(home / "state"),
            "COLAB_DEVSYNC_CACHE_DIR": str(home / "cache"),
            "COLAB_DEVSYNC_LINGER_S": "60",
        }
        self.env.pop("COLAB_DEVSYNC_PROFILE", None)
        self.env.pop("SSH_AUTH_SOCK", None)
        self._editors: list[Editor] = []

    def editor(self, cwd: Path | None = None, **options: object) -> Editor:
        editor = Editor(self.env, cwd=cwd or self.home, **options)  # type: ignore[arg-type]
        self._editors.append(editor)
        return editor

    def run(
        self,
        *arguments: str,
        cwd: Path | None = None,
        stdin: bytes = b"",
        timeout_s: float = 90,
    ) -> subprocess.CompletedProcess[bytes]:
        """The command line, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "colab_devsync", *arguments],
            cwd=cwd or self.home,
            env=self.env,
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )

    def start(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            argv,
            cwd=self.home,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def daemon_pids(self) -> list[int]:
        """What the lock files say; a daemon that has ended left its number too."""
        texts = [lock.read_text().strip() for lock in self.runtime.glob("*.lock")]
        return [int(text) for text in texts if text]

    def sockets(self) -> list[Path]:
        return [*self.runtime.glob("*.sock"), *self.runtime.glob("*.port")]

    def wait_daemon_gone(self, timeout_s: float = TIMEOUT_S) -> None:
        """Until every lock is free: the system frees it when the process ends."""
        for path in self.runtime.glob("*.lock"):
            waiter = threading.Thread(target=_lock_and_release, args=(path,))
            waiter.daemon = True
            waiter.start()
            waiter.join(timeout_s)
            assert not waiter.is_alive(), f"the daemon of {path} lives"

    def is_daemon_gone(self) -> bool:
        """Now."""
        for path in self.runtime.glob("*.lock"):
            lock = FileLock(path)
            if not lock.try_acquire():
                return False
            lock.release()
        return True

    def clean(self) -> None:
        for editor in self._editors:
            editor.kill()
        for path in self.runtime.glob("*.lock"):
            lock = FileLock(path)
            if lock.try_acquire():
                lock.release()
                continue
            os.kill(int(path.read_text()), signal.SIGTERM)
        self.wait_daemon_gone()
        shutil.rmtree(self.folder, ignore_errors=True)


def _lock_and_release(path: Path) -> None:
    import fcntl

    with path.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
