"""Random histories of a pulled folder: whatever stands here was complete on the VM.

People and programs write on the VM as they do (in place, by renaming, longer and
longer), links drop, agents and sessions die; every file here, at every moment, is one
version that was finished there, and in the end the newest.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from colab_devsync.engine.session import Session
from colab_devsync.errors import AgentError, LinkError
from tests.chaos.local_link import LocalLink
from tests.support.project import EventLog

CONFIG = """
[link]
provider = "sandbox"
[remote]
root = "{root}"
[[pull]]
remote = "out"
every = 1
keep = 0
"""
NAMES = st.sampled_from(["a.pt", "b.pt", "deep/c.pt"])
SIZES = st.sampled_from([0, 10, 5_000, 300_000, 1_500_000])
WAIT_S = 60.0


class Pulled(RuleBasedStateMachine):
    """`finished` has the hash of every version that was complete, by path."""

    folder: Path

    def __init__(self) -> None:
        super().__init__()
        self.world = Path(tempfile.mkdtemp(dir=self.folder))
        self.there = self.world / "vm" / "out"
        self.there.mkdir(parents=True)
        self.root = self.world / "project"
        self.root.mkdir()
        config = CONFIG.format(root=self.world / "vm")
        (self.root / ".colabremote.toml").write_text(config)
        self.finished: dict[str, set[str]] = {}
        self.newest: dict[str, str] = {}
        self.count = 0
        self.link = LocalLink()
        self.log = EventLog()
        self.session = self._start()

    def _start(self) -> Session:
        session = Session(
            self.root,
            profile=None,
            emit=self.log,
            ask=lambda question: question.safe,
            open_link=self.link.open,
        )
        session.connect()
        return session

    def teardown(self) -> None:
        self._settle()
        self.session.close()
        self.link.end()

    # --- the VM -------------------------------------------------------------------

    def _content(self, size: int) -> bytes:
        self.count += 1
        return hashlib.shake_128(b"%d" % self.count).digest(size)

    def _finish(self, name: str) -> None:
        data = (self.there / name).read_bytes()
        self.newest[name] = hashlib.sha256(data).hexdigest()
        self.finished.setdefault(name, set()).add(self.newest[name])

    def _will_be(self, name: str, data: bytes) -> None:
        """It may be seen before we have noted that it is finished."""
        found = hashlib.sha256(data).hexdigest()
        self.finished.setdefault(name, set()).add(found)

    @rule(name=NAMES, size=SIZES)
    def renamed_into_place(self, name: str, size: int) -> None:
        data = self._content(size)
        self._will_be(name, data)
        staged = self.world / "staged"
        staged.write_bytes(data)
        (self.there / name).parent.mkdir(exist_ok=True)
        os.replace(staged, self.there / name)
        self._finish(name)

    @rule(name=NAMES, size=SIZES)
    def written_in_place(self, name: str, size: int) -> None:
        data = self._content(size)
        self._will_be(name, data)
        (self.there / name).parent.mkdir(exist_ok=True)
        with open(self.there / name, "wb") as stream:
            for at in range(0, len(data), 400_000):
                stream.write(data[at : at + 400_000])
                stream.flush()
        self._finish(name)

    @rule(name=NAMES, size=SIZES)
    def made_longer(self, name: str, size: int) -> None:
        if (self.there / name).exists():
            data = self._content(size)
            self._will_be(name, (self.there / name).read_bytes() + data)
            with open(self.there / name, "ab", buffering=0) as stream:
                stream.write(data)
            self._finish(name)

    @rule(name=NAMES)
    def patched(self, name: str) -> None:
        """The same size, and even the same time."""
        path = self.there / name
        if path.exists() and path.stat().st_size > 100:
            data = bytearray(path.read_bytes())
            data[50:60] = self._content(10)
            self._will_be(name, bytes(data))
            staged = self.world / "staged"
            staged.write_bytes(data)
            times = path.stat()
            os.utime(staged, ns=(times.st_atime_ns, times.st_mtime_ns))
            os.replace(staged, path)
            self._finish(name)

    @rule(name=NAMES)
    def deleted(self, name: str) -> None:
        (self.there / name).unlink(missing_ok=True)
        self.newest.pop(name, None)

    # --- accidents ----------------------------------------------------------------

    @rule()
    def dropped(self) -> None:
        for connection in self.link.connections[-1:]:
            connection.close()

    @rule()
    def agent_killed(self) -> None:
        for connection in self.link.connections[-1:]:
            connection.kill_agent()

    @rule()
    def restarted(self) -> None:
        self.session.close()
        self.session = self._start()

    @rule()
    def settled(self) -> None:
        self._settle()

    # --- what must hold -----------------------------------------------------------

    @invariant()
    def whole(self) -> None:
        for name, found in self._here():
            assert found in self.finished.get(name, set()), name

    def _here(self) -> Iterator[tuple[str, str]]:
        folder = self.root / "out"
        for path in folder.rglob("*.pt"):
            name = path.relative_to(folder).as_posix()
            yield name, hashlib.sha256(path.read_bytes()).hexdigest()

    def _settle(self) -> None:
        """In the end the newest is here; what was deleted there may stay."""
        end = time.monotonic() + WAIT_S
        while True:
            try:
                self.session.pulls.pull().result(WAIT_S)
                break
            except (LinkError, AgentError):  # broken just now; another one comes
                assert time.monotonic() < end
        here = dict(self._here())
        assert {name: here.get(name) for name in self.newest} == self.newest


@pytest.mark.timeout(180)
def test_whatever_is_here_was_complete_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLAB_DEVSYNC_STATE_DIR", str(tmp_path / "state"))
    Pulled.folder = tmp_path
    machine = Pulled.TestCase
    machine.settings = settings(
        max_examples=int(os.environ.get("COLAB_DEVSYNC_PULL_CHAOS", "6")),
        stateful_step_count=12,
        deadline=None,
        derandomize="COLAB_DEVSYNC_PULL_CHAOS" not in os.environ,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    machine().runTest()
