"""An agent killed at any moment leaves the old bytes or the new ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from colab_devsync.agent import hashing, wire
from colab_devsync.errors import AgentCrashed
from tests.agent.conftest import Start
from tests.agent.driver import Driven, tree_of

OLD, NEW = b"old\n" * 1000, b"new\n" * 1000
OLD_HASH = hashing.of_bytes(OLD)

# Runs in the agent, before it starts. It dies at the given moment, once armed.
DYING = """
import os, signal
def dies(before, real):
    def wrapped(*args, **kwargs):
        armed = os.path.exists({armed!r})
        if armed and before:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **kwargs)
        if armed:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return wrapped
import {package}.{module} as module
module.{name} = dies({before}, module.{name})
"""
MOMENTS = {
    "created": ("staging", "Staging.fresh_name", True),
    "writing": ("staging", "write_all", True),
    "written": ("staging", "write_all", False),
    "settled": ("staging", "Content.settle", False),
    "syncing": ("os", "fsync", True),
    "synced": ("os", "fsync", False),
    "renaming": ("os", "rename", True),
    "renamed": ("os", "rename", False),
    "recording": ("manifest", "Manifest.record", True),
    "recorded": ("manifest", "Manifest.record", False),
    "answering": ("wire", "encode", True),
}
AFTER_THE_RENAME = ("renamed", "recording", "recorded", "answering")

HALF_WRITES = """
import {package}.staging as staging
real = staging.write_all
def write(fd, data):
    real(fd, data[:9] if bytes(data).startswith(b"new") else data)
staging.write_all = write
"""
ELSEWHERE = """
import errno, os
def elsewhere(source, target, src_dir_fd=None, dst_dir_fd=None, real=os.rename):
    if src_dir_fd != dst_dir_fd:
        raise OSError(errno.EXDEV, "elsewhere")
    real(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
os.rename = elsewhere
"""


def dying(moment: str, armed: Path) -> str:
    module, name, before = MOMENTS[moment]
    text = DYING.format(
        armed=str(armed), package="PACKAGE", module=module, name=name, before=before
    )
    return text.replace("import PACKAGE.os", "import os").replace(
        "PACKAGE", "colab_devsync_agent"
    )


def killed_in_a_put(start: Start, armed: Path, fault: str) -> None:
    agent = start(fault=fault)
    assert agent.put("d/a", OLD) == wire.OK
    armed.touch()
    with pytest.raises(AgentCrashed, match="ended"):
        agent.put("d/a", NEW, OLD_HASH)
    assert agent.died() == -9
    armed.unlink()


def healed(agent: Driven) -> None:
    """The next agent cleans up, and the same put goes through."""
    assert agent.temporaries() == []
    assert set(tree_of(agent.root)) == {"d/a"}
    assert agent.put("d/a", NEW, OLD_HASH) in (wire.OK, wire.SAME)
    assert agent.digest_is({"d/a": NEW})
    assert tree_of(agent.root) == {"d/a": NEW}


@pytest.mark.few
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_at_this_moment(
    start: Start, root: Path, tmp_path: Path, moment: str
) -> None:
    armed = tmp_path / "armed"
    killed_in_a_put(start, armed, dying(moment, armed))
    expected = NEW if moment in AFTER_THE_RENAME else OLD
    assert (root / "d/a").read_bytes() == expected
    healed(start())


@pytest.mark.few
@pytest.mark.parametrize("moment", ["syncing", "synced", "renaming", "renamed"])
def test_a_kill_on_the_way_to_another_disk(
    start: Start, root: Path, tmp_path: Path, moment: str
) -> None:
    armed = tmp_path / "armed"
    # The first fsync is of the staging folder's copy, the rename of the one beside.
    killed_in_a_put(start, armed, ELSEWHERE + dying(moment, armed))
    assert (root / "d/a").read_bytes() in (OLD, NEW)
    healed(start())


COPYING = """
import os, signal
import colab_devsync_agent.staging as staging
def dies(fd, *args, **kwargs):
    if os.path.exists({armed!r}):
        os.kill(os.getpid(), signal.SIGKILL)
real = staging._copy_file
def copy(source, name, folder):
    staging.write_all = dies
    real(source, name, folder)
staging._copy_file = copy
"""


@pytest.mark.few
def test_a_kill_while_copying_to_another_disk(
    start: Start, root: Path, tmp_path: Path
) -> None:
    armed = tmp_path / "armed"
    agent = start()
    agent.put("d/a", OLD)
    agent.close()
    killing = start(fault=ELSEWHERE + COPYING.format(armed=str(armed)))
    armed.touch()
    with pytest.raises(AgentCrashed, match="ended"):
        killing.put("d/a", NEW, OLD_HASH)
    assert killing.died() == -9
    assert (root / "d/a").read_bytes() == OLD
    assert len(os.listdir(root / "d")) == 2  # the copy that was not finished
    healed(start())


@pytest.mark.few
def test_bytes_that_were_not_all_written_are_not_renamed(
    start: Start, root: Path
) -> None:
    agent = start(fault=HALF_WRITES.format(package="colab_devsync_agent"))
    assert agent.put("a", NEW) == wire.BAD_HASH
    assert tree_of(root) == {}
    assert agent.temporaries() == []


@pytest.mark.few
def test_a_kill_in_the_middle_of_many(start: Start, root: Path) -> None:
    """Whatever the moment was: whole files only, and the log can be read."""
    agent = start()
    files = {f"d/{i}": os.urandom(2000) for i in range(200)}
    got: list[object] = []
    for path, data in files.items():
        entry = [
            path,
            "f",
            hashing.of_bytes(data),
            len(data),
            None,
            [""],
            len(data),
            "",
        ]
        agent.client.send({"op": "put", "entries": [entry]}, data, got.append)
        if path == "d/120":
            agent.kill()
    agent.close()
    there = tree_of(root)
    assert there.items() <= files.items()
    again = start()
    assert again.temporaries() == []
    for path, data in files.items():
        assert again.put(path, data) in (wire.OK, wire.SAME)
    assert again.digest_is(files)


def test_a_torn_log_costs_hashing_only(start: Start, root: Path) -> None:
    with start() as agent:
        files = {f"f{i}": b"%d" % i for i in range(9)}
        for path, data in files.items():
            agent.put(path, data)
    log = root / ".colab-devsync/manifest.log"
    lines = log.read_text().splitlines(keepends=True)
    assert json.loads(lines[-1])[0] == "f8"
    log.write_bytes("".join(lines[:-1]).encode() + lines[-1][:20].encode())
    again = start()
    assert again.hello.count == 8
    assert again.look("f8") == [hashing.of_bytes(b"8")]
    assert again.digest_is(files)


@pytest.mark.few
@pytest.mark.parametrize(
    "garbage",
    [b"\0" * 500, b"\xff\xfe\xff\n", b"{}\n", b"[]\n", b'["a",1,2]\n', b"[[]]\n" * 3],
)
def test_a_log_full_of_garbage(start: Start, root: Path, garbage: bytes) -> None:
    (root / ".colab-devsync").mkdir(parents=True)
    (root / ".colab-devsync/manifest.log").write_bytes(garbage)
    agent = start()
    assert agent.hello.count == 0
    assert agent.put("a", NEW) == wire.OK
