"""A project folder, its session, and the folder on the "VM" it is mirrored to.

Everything is waited for by events: `EventLog.wait` looks again whenever the session
told something (and now and then: files and threads tell nothing), and fails after a
bounded time.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from colab_devsync.agent.paths import STATE_DIR
from colab_devsync.core.events import (
    Conflict,
    Event,
    Mirrored,
    Problem,
    Question,
    Status,
    StatusChanged,
    SyncResult,
)
from colab_devsync.engine.session import Session
from tests.support.remotes import Remote
from tests.support.run_output import end_runs

WAIT_S = 60.0
_LOOK_S = 0.2
CONFIG = ".colabremote.toml"

T = TypeVar("T")


class EventLog:
    """An `emit` that remembers, and can be waited on from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait(self, look: Callable[[], T], what: str, timeout_s: float = WAIT_S) -> T:
        """The first true answer of `look`: asked now, after every event, and now and
        then, because what it looks at may be done after the last event."""
        deadline = time.monotonic() + timeout_s
        seen = 0
        while not (found := look()):
            assert time.monotonic() < deadline, f"waited in vain: {what}\n{self.tail()}"
            with self._changed:
                self._changed.wait_for(
                    lambda seen=seen: len(self.events) != seen, _LOOK_S
                )
                seen = len(self.events)
        return found

    def mirrored(self, path: str | None = None) -> list[Mirrored]:
        found = [one for one in list(self.events) if isinstance(one, Mirrored)]
        return [one for one in found if path in (None, one.path)]

    def clear(self) -> None:
        with self._changed:
            self.events = []
            self._changed.notify_all()

    def tail(self) -> str:
        return "\n".join(map(repr, self.events[-8:]))


class Project:
    """`root` is here, `vm` is there. The session is made at the first use."""

    def __init__(self, remote: Remote, root: Path) -> None:
        self.remote = remote
        self.root = root
        self.vm = remote.root
        self.log = EventLog()
        self.asked: list[Question] = []
        self.answer: Callable[[Question], str] = lambda question: question.safe
        self._session: Session | None = None
        root.mkdir(exist_ok=True)
        self.configure()

    def configure(
        self, *, sync: str = "", more: str = "", vm: Path | None = None, **link: Any
    ) -> None:
        """Writes the configuration: `port` that of a proxy, `sync` lines of [sync]."""
        config = self.remote.config(**link)
        keys = ("provider", "host", "port", "user", "identity_file", "host_key")
        if config.provider != "direct":
            keys = (*keys, "relay", "session", "proxy_command", "api_key_env")
        lines = ["[link]"]
        for key in keys:
            value = getattr(config, key)
            if value not in (None, ()):
                lines.append(f"{key} = {json.dumps(value)}")
        self.vm = vm or self.vm
        lines += ["[remote]", f"root = {json.dumps(str(self.vm))}"]
        lines += ["[sync]", sync, more, ""]
        (self.root / CONFIG).write_text("\n".join(lines), encoding="utf-8")

    # --- the session --------------------------------------------------------------

    @property
    def session(self) -> Session:
        if self._session is None:
            self._session = Session(
                self.root, profile=None, emit=self.log, ask=self._ask
            )
        return self._session

    def _ask(self, question: Question) -> str:
        self.asked.append(question)
        return self.answer(question)

    def connect(self) -> Status:
        return self.session.connect().result(WAIT_S)

    def sync(self, **options: Any) -> SyncResult:
        return self.session.sync(**options).result(30)

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def restart(self) -> SyncResult:
        """A new session on the old state, as after a restart of the daemon."""
        self.close()
        return self.sync()

    # --- files --------------------------------------------------------------------

    def write(self, path: str, data: str | bytes) -> Path:
        """What another tool does: nobody tells the session."""
        name = self.root / path
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_bytes(data.encode() if isinstance(data, str) else data)
        return name

    def replace(self, path: str, data: str | bytes) -> None:
        """What a careful tool does. Of `write` the watch may see, and mirror, that the
        file is empty for a moment."""
        os.replace(self.write(f".git/{path}", data), self.root / path)

    def save(self, path: str, data: str | bytes) -> None:
        """What an editor does: writes, then tells."""
        self.session.saved(self.write(path, data))

    def write_there(self, path: str, data: str | bytes) -> None:
        """Somebody works on the VM."""
        name = self.vm / path
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_bytes(data.encode() if isinstance(data, str) else data)

    def there(self, path: str) -> bytes | None:
        try:
            return (self.vm / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def files_there(self) -> set[str]:
        return set(contents(self.vm))

    # --- waiting ------------------------------------------------------------------

    def wait(self, look: Callable[[], T], what: str, timeout_s: float = WAIT_S) -> T:
        return self.log.wait(look, what, timeout_s)

    def wait_arrived(self, path: str, timeout_s: float = WAIT_S) -> None:
        """Until the VM holds what stands here now."""
        wanted = (self.root / path).read_bytes()
        self.wait(lambda: self.there(path) == wanted, f"{path} arrives", timeout_s)

    def wait_gone(self, path: str) -> None:
        name = self.vm / path
        self.wait(lambda: not os.path.lexists(name), f"{path} is gone on the VM")

    def wait_conflict(self, path: str) -> Conflict:
        """Until it is known and the VM's version has been fetched."""
        return self.wait(
            lambda: next(
                (
                    one
                    for one in self.session.conflicts()
                    if one.path == path and one.remote_copy
                ),
                None,
            ),
            f"conflict about {path}",
        )

    def wait_problem(self, path: str) -> Problem:
        return self.wait(
            lambda: next(
                (one for one in self.session.status().problems if one.path == path),
                None,
            ),
            f"problem of {path!r}",
        )

    def wait_link(self, *states: str, timeout_s: float = WAIT_S) -> Status:
        """Until the link is in one of these states now."""
        status = self.session.status

        def look() -> Status | None:
            return now if (now := status()).link in states else None

        return self.wait(look, f"link {states}", timeout_s)

    def wait_was(self, state: str, timeout_s: float = WAIT_S) -> None:
        """Until the link has been in this state since the log was cleared."""

        def look() -> bool:
            return any(
                isinstance(one, StatusChanged) and one.status.link == state
                for one in list(self.log.events)
            )

        self.wait(look, f"link was {state}", timeout_s)

    def wait_at_rest(self) -> None:
        self.wait(lambda: self.session.status().pending == 0, "nothing is pending")

    def assert_same(self) -> None:
        """Both sides hold the same, byte for byte."""
        here, there = contents(self.root), contents(self.vm)
        assert here.keys() == there.keys()
        assert [path for path in here if here[path] != there[path]] == []


def contents(root: Path) -> dict[str, object]:
    """path -> bytes, or the target of a link; without what is never mirrored."""
    found: dict[str, object] = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in (STATE_DIR, ".git")]
        links = [one for one in folders if os.path.islink(os.path.join(folder, one))]
        for name in names + links:
            path = Path(folder, name)
            inside = path.relative_to(root).as_posix()
            found[inside] = (
                os.readlink(path) if path.is_symlink() else path.read_bytes()
            )
    return found


@pytest.fixture
def project(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    """A project of its own; at the end no thread and no process of it may be left."""
    monkeypatch.setenv("COLAB_DEVSYNC_STATE_DIR", str(tmp_path / "devsync-state"))
    monkeypatch.setenv("COLAB_DEVSYNC_CACHE_DIR", str(tmp_path / "devsync-cache"))
    processes = children()
    threads = set(threading.enumerate())
    project = Project(remote, tmp_path / "project")
    yield project
    project.close()
    end_runs(project.vm)
    left = [
        one
        for one in threading.enumerate()
        if one.name.startswith("devsync-") and one not in threads
    ]
    for thread in left:
        thread.join(30)
    assert [thread.name for thread in left if thread.is_alive()] == []
    assert children() <= processes


def children() -> set[int]:
    """Our child processes (Linux; elsewhere nothing is seen)."""
    if sys.platform != "linux":
        return set()
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the thread has ended
            found.update(map(int, (task / "children").read_text().split()))
    return found
