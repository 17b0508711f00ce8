"""A project, its mirror, what people did on both sides, and what they are owed.

Every content is unique, so any byte string that anybody saved can be looked for:
it must be live, kept as a version, or replaced by somebody who had seen it.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import stat
import sys
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from colab_devsync.agent import hashing
from colab_devsync.agent.paths import STATE_DIR
from colab_devsync.core.events import Conflict, Question
from colab_devsync.engine.places import project_state_dir
from colab_devsync.engine.session import Session
from colab_devsync.engine.store import Store
from colab_devsync.errors import AgentCrashed, LinkError, NotFlushed, SyncError
from tests.chaos.local_link import LocalLink
from tests.support.files import remove_tree

CONFIG = ".colabremote.toml"
WAIT_S = 60.0
_ROUNDS = 12
_IN_THE_WAY = re.compile(
    r"(?P<folder>[^:]*): a folder with files of its own stands there"
    r"|[^:]*: not on the VM: (?P<file>.*) is a (file|symbolic link) on the VM"
)


@dataclass
class Side:
    """One tree, and what its person wants to stand there: path -> hash."""

    root: Path
    owed: dict[str, str] = field(default_factory=dict)

    def name(self, path: str) -> Path:
        return self.root / path

    def make_room(self, path: str) -> None:
        """Whatever stands where `path` needs folders, or is one, goes."""
        parts = path.split("/")
        for depth in range(1, len(parts)):
            above = self.root.joinpath(*parts[:depth])
            if above.is_symlink() or above.is_file():
                self.delete("/".join(parts[:depth]))
        if self.name(path).is_dir() and not self.name(path).is_symlink():
            self.delete(path)
        self.name(path).parent.mkdir(parents=True, exist_ok=True)

    def write(self, path: str, data: bytes, *, atomic: bool) -> None:
        self.make_room(path)
        name = self.name(path)
        if name.is_symlink():
            name.unlink()
        if atomic:
            temporary = self.root.parent / f"{self.root.name}.tmp"
            temporary.write_bytes(data)
            self._put(temporary, path)
        else:
            name.write_bytes(data)
        self.owed[path] = hashing.of_bytes(data)

    def _put(self, temporary: Path, path: str) -> None:
        """The agent may make a folder in the way at the same moment: again then."""
        while temporary.exists():
            self.make_room(path)
            with contextlib.suppress(IsADirectoryError, FileNotFoundError):
                os.replace(temporary, self.name(path))

    def link(self, path: str, target: str) -> None:
        self.make_room(path)
        self.name(path).unlink(missing_ok=True)
        self.name(path).symlink_to(target)
        self.owed[path] = hashing.of_link(target)

    def delete(self, path: str) -> None:
        name = self.name(path)
        if name.is_dir() and not name.is_symlink():
            # Once more if the agent puts something there meanwhile.
            while name.is_dir():
                shutil.rmtree(name, ignore_errors=True)
        elif os.path.lexists(name):
            name.unlink()
        self.forget(path)

    def forget(self, path: str) -> None:
        for one in list(self.owed):
            if one == path or one.startswith(path + "/"):
                del self.owed[one]

    def rename(self, old: str, new: str) -> None:
        if new == old or new.startswith(old + "/") or old.startswith(new + "/"):
            return
        self.make_room(new)
        if not os.path.lexists(self.name(old)):
            return
        if os.path.lexists(self.name(new)):
            self.delete(new)
        os.replace(self.name(old), self.name(new))
        self.forget(old)
        for path, (found, _) in self.files().items():
            if path == new or path.startswith(new + "/"):
                self.owed[path] = found

    def files(self) -> dict[str, tuple[str, bool]]:
        """path -> hash and executable bit, of files and links."""
        found = {}
        for folder, folders, names in os.walk(self.root):
            if STATE_DIR in folders:
                folders.remove(STATE_DIR)
            links = [one for one in folders if os.path.islink(f"{folder}/{one}")]
            for one in names + links:
                path = Path(folder, one)
                inside = path.relative_to(self.root).as_posix()
                if inside != CONFIG:
                    found[inside] = _look(path)
        return found


def _look(path: Path) -> tuple[str, bool]:
    about = path.lstat()
    if stat.S_ISLNK(about.st_mode):
        return hashing.of_link(os.readlink(path)), False
    return hashing.of_bytes(path.read_bytes()), bool(about.st_mode & 0o100)


class World:
    """Two sides and a session between them, over a link that can be hurt."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.here = Side(folder / "here")
        self.there = Side(folder / "there")
        self.here.root.mkdir()
        self.there.root.mkdir()
        self.link = LocalLink()
        self.trace: list[str] = []
        self.seen: set[str] = set()  # hashes a person chose to replace
        self._serial = 0
        (self.here.root / CONFIG).write_text(
            '[link]\nprovider = "direct"\nhost = "127.0.0.1"\n'
            f'[remote]\nroot = "{self.there.root}"\npython = "{sys.executable}"\n'
        )
        self.session = self._open()

    def _open(self) -> Session:
        return Session(
            self.here.root,
            profile=None,
            emit=lambda event: None,
            ask=_yes,
            open_link=self.link.open,
        )

    def restart(self) -> None:
        self.session.close()
        self.session = self._open()

    def connect(self) -> None:
        """Online, if what was done to the link before allows it."""
        try:
            self.session.connect().result(WAIT_S)
        except (LinkError, AgentCrashed):
            self.trace.append("the link does not come up at once")

    def replace_vm(self) -> None:
        """The VM was taken away, with all that only it had."""
        self.session.disconnect().result(WAIT_S)
        while self.link.connections:
            self.link.connections.pop().end()
        remove_tree(self.there.root)
        self.there.root.mkdir()
        self.there.owed.clear()

    def close(self) -> None:
        self.session.close()
        self.link.end()

    def content(self, size: int) -> bytes:
        """Never the same twice."""
        self._serial += 1
        head = f"# {self._serial} {self.random.random()}\n".encode()
        return head + self.random.randbytes(max(0, size - len(head)))

    # --- quiet --------------------------------------------------------------------

    def settle(self) -> None:
        """Syncs and ends conflicts until there is nothing left to do."""
        for _ in range(_ROUNDS):
            failed = False
            try:
                self.session.sync().result(WAIT_S)
            except NotFlushed as exc:
                failed = True
                if not self.session.conflicts():
                    self._clear_the_way(exc)
            except (LinkError, AgentCrashed):
                continue  # what hurt it was still in the pipe
            conflicts = self.session.conflicts()
            if not (conflicts or failed):
                return
            for one in conflicts:
                self._resolve(one)
        raise AssertionError(f"no end of conflicts: {self.session.conflicts()}")

    def _clear_the_way(self, exc: NotFlushed) -> None:
        """What the VM's person put where ours goes: that person takes it away."""
        messages = [one.message for one in self.session.status().problems]
        found = [match for one in messages if (match := _IN_THE_WAY.match(one))]
        if not found:
            raise exc
        for match in found:
            path = match["file"] or match["folder"]
            self.trace.append(f"clear {path} there")
            self.there.delete(path)

    def _resolve(self, conflict: Conflict) -> None:
        path = conflict.path
        keep = self.random.choice(("local", "remote"))
        try:
            self.session.resolve(path, keep).result(WAIT_S)
        except SyncError as exc:
            self.trace.append(f"resolve {path} {keep}: {exc}")
            keep = "local"
            self.session.resolve(path, "local").result(WAIT_S)
        self.trace.append(f"resolve {path} {keep}")
        if keep == "local" and conflict.remote_hash is not None:
            self.seen.add(conflict.remote_hash)
        if keep == "remote":
            self.here.forget(path)

    # --- what must hold then ------------------------------------------------------

    def check(self) -> None:
        here, there = self.here.files(), self.there.files()
        known = self._index()
        assert {path: one[0] for path, one in here.items()} == known
        assert {path: there.get(path) for path in here} == here
        self._check_owed(here, there)
        strangers = {path: there[path][0] for path in there.keys() - here.keys()}
        theirs = self.there.owed
        assert strangers == {p: theirs.get(p) for p in strangers}, "not deleted there"
        assert self._left_over() == []

    def _check_owed(self, here: dict[str, Any], there: dict[str, Any]) -> None:
        live = {(p, one[0]) for side in (here, there) for p, one in side.items()}
        kept = self._versions()
        for side in (self.here, self.there):
            for path, owed in side.owed.items():
                safe = (path, owed) in live or owed in kept or owed in self.seen
                assert safe, f"lost: {path} of {side.root.name}"

    def _versions(self) -> set[str]:
        folder = project_state_dir(self.here.root, None) / "versions"
        files = [path for path in folder.rglob("*") if not path.is_dir()]
        return {_look(path)[0] for path in files} | {
            hashing.of_link(path.read_text(errors="surrogateescape"))
            for path in files
            if path.stat().st_size < 100
        }

    def _index(self) -> dict[str, str]:
        store = Store(project_state_dir(self.here.root, None))
        try:
            known = {path: one.hash for path, one in store.known.items()}
            assert store.sent == {}
            assert store.conflicts() == {}
        finally:
            store.close()
        known.pop(CONFIG, None)
        return known

    def _left_over(self) -> list[str]:
        staging = self.there.root / STATE_DIR / "staging"
        # Parts of a version that is not wanted any more stay for a week, to resume.
        staged = [one for one in os.listdir(staging) if not one.startswith("part-")]
        return staged + [
            os.fspath(path)
            for side in (self.here, self.there)
            for path in side.root.rglob("*")
            if path.name.endswith("~") or ".colab-devsync" in path.name[1:]
        ]


def _yes(question: Question) -> str:
    return "yes"


def result(future: Future[Any]) -> Any:
    return future.result(WAIT_S)
