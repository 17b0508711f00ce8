"""Nothing outside the root is written, whatever the path and whoever moves folders."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from pathlib import Path

import pytest

from colab_devsync.agent import hashing, wire
from colab_devsync.errors import ProtocolMismatch, RemoteRefused
from tests.agent.driver import Driven, file_entry, tree_of

pytestmark = pytest.mark.few

OLD, NEW = b"old\n", b"new\n"
RACE_S = 1.5

ESCAPES = [
    "",
    ".",
    "..",
    "/",
    "../a",
    "a/../../b",
    "a/..",
    "./a",
    "a/.",
    "a//b",
    "a/",
    "/etc/cron.d/x",
    "//a",
    "a\0b",
    ".colab-devsync",
    ".colab-devsync/lock",
    ".colab-devsync/staging/x",
]


def test_paths_that_are_not_plain(agent: Driven, root: Path) -> None:
    before = tree_of(root.parent)
    log = (root / ".colab-devsync/manifest.log").stat().st_size
    for path in ESCAPES:
        assert agent.put_result(path, NEW)[0] == wire.REFUSED, path
        assert agent.link(path, "x")[0] == wire.REFUSED, path
        assert agent.delete(path, hashing.of_bytes(OLD)) == wire.REFUSED, path
        assert agent.look(path) == ["unsafe"], path
        with pytest.raises(RemoteRefused):
            agent.read(path)
    assert tree_of(root.parent) == before
    assert (root / ".colab-devsync/manifest.log").stat().st_size == log


def test_names_that_only_look_dangerous(agent: Driven, root: Path) -> None:
    names = ["...", "..a", "a..", ".colab-devsync2", "sub/.colab-devsync", "~", "-"]
    assert [agent.put(name, NEW) for name in names] == [wire.OK] * len(names)
    assert set(tree_of(root)) == set(names)


def test_hashes_that_would_name_other_files(agent: Driven, root: Path) -> None:
    for bad in ("../../x", "A" * 32, "0" * 31, "0" * 33, "0" * 32 + "\n", 5, None):
        entry = file_entry("a", NEW)._replace(hash=bad)  # type: ignore[arg-type]
        with pytest.raises(ProtocolMismatch, match="malformed entry"):
            agent.put_entries((entry, NEW))
        with pytest.raises(ProtocolMismatch, match="malformed entry"):
            agent.ask("part", NEW, entry=entry, size=len(NEW), offset=0)
    assert tree_of(root) == {}


def test_folders_that_are_links(agent: Driven, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "empty").mkdir(parents=True)
    (outside / "a").write_bytes(OLD)
    (root / "alias").symlink_to(outside)
    refused = (wire.REFUSED, "", "alias is a symbolic link on the VM")
    assert agent.put_result("alias/a", NEW, hashing.of_bytes(OLD)) == refused
    assert agent.put_result("alias/sub/b", NEW) == refused
    assert agent.link("alias/b", "x") == refused
    # What lies behind a link is not ours: our file is gone from there.
    assert agent.delete("alias/a", hashing.of_bytes(OLD)) == wire.SAME
    assert agent.delete("alias/empty/x", "") == wire.SAME
    assert agent.look("alias/a") == [""]
    with pytest.raises(RemoteRefused, match="symbolic link"):
        agent.read("alias/a")
    assert tree_of(outside) == {"a": OLD}
    assert (outside / "empty").is_dir()


def test_a_file_that_is_a_link_out_is_replaced_not_followed(
    agent: Driven, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").write_bytes(OLD)
    (root / "a").symlink_to(tmp_path / "outside")
    held = hashing.of_link(str(tmp_path / "outside"))
    assert agent.put("a", NEW, hashing.of_bytes(OLD)) == wire.CONFLICT
    assert agent.put("a", NEW, held, executable=True) == wire.OK
    assert (tmp_path / "outside").read_bytes() == OLD
    assert (root / "a").read_bytes() == NEW
    assert not (root / "a").is_symlink()


class Swapper:
    """Makes root/d a folder, a link out of the root, nothing …, until stopped."""

    def __init__(self, root: Path, outside: Path) -> None:
        self._folder, self._aside = root / "d", root / "aside"
        self._link, self._outside = root / "link", outside
        self._over = threading.Event()
        self.swaps = 0
        self._thread = threading.Thread(
            target=self._run, name="devsync-test-swapper", daemon=True
        )

    def __enter__(self) -> Swapper:
        self._aside.mkdir()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join(30)

    def _run(self) -> None:
        for turn in itertools.takewhile(
            lambda _: not self._over.is_set(), itertools.count()
        ):
            # The agent makes folders meanwhile, so each step may find another state.
            with contextlib.suppress(FileNotFoundError):
                os.rename(self._folder, self._aside / str(turn))
            self._link.symlink_to(self._outside)
            try:
                os.rename(self._link, self._folder)
                self.swaps += 1
                os.unlink(self._folder)
            except IsADirectoryError:
                os.unlink(self._link)


def test_folders_that_become_links_meanwhile(
    agent: Driven, root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    (outside / "sub/empty").mkdir(parents=True)
    (outside / "sub/victim").write_bytes(OLD)
    seen: set[str] = set()
    with Swapper(root, outside) as swapper:
        until = time.monotonic() + RACE_S
        for number in range(100_000):
            data = b"%d" % number
            entry = file_entry("d/sub/victim", data)
            entry = entry._replace(accept=agent.look("d/sub/victim"))
            seen.add(agent.put_entries((entry, data))[0][0])
            agent.delete("d/sub/victim", hashing.of_bytes(OLD), entry.hash)
            agent.delete("d/sub/empty/x", "")
            agent.link("d/sub/link", "x")
            if time.monotonic() > until:
                break
    assert swapper.swaps > 10
    assert wire.OK in seen
    assert tree_of(outside) == {"sub/victim": OLD}
    assert (outside / "sub/empty").is_dir()
