"""Random histories: edits on both sides, and everything a bad tunnel does between.

Each runs from a seed, which the failure names together with what was done. More:
`COLAB_DEVSYNC_CHAOS=1000-1200 pytest tests/chaos/test_nothing_is_lost.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.world import Side, World

STEPS = 30
_FEW = "1-8"
PATHS = ["a.py", "A.py", "b.txt", "d", "d/c.py", "d/e/f.py", "d/e", "big.bin", "l"]
SIZES = [0, 30, 30, 30, 3000, 300_000, 2_500_000]


def _seeds() -> range:
    first, last = os.environ.get("COLAB_DEVSYNC_CHAOS", _FEW).split("-")
    return range(int(first), int(last) + 1)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", _seeds())
def test_every_byte_string_survives_a_random_history(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLAB_DEVSYNC_STATE_DIR", str(tmp_path / "state"))
    world = World(tmp_path, seed)
    try:
        for _ in range(3):
            for _ in range(world.random.randrange(2, STEPS // 2)):
                _step(world)
            world.link.is_down = False
            world.trace.append("settle")
            world.settle()
            world.session.close()
            world.check()
            world.restart()
    except BaseException:
        print(f"seed {seed}:\n" + "\n".join(world.trace))
        raise
    finally:
        world.close()


def _step(world: World) -> None:
    step = world.random.choice(_STEPS)
    world.trace.append(step(world))


def _edit(world: World, side: Side) -> str:
    draw = world.random
    path = draw.choice(PATHS)
    data = world.content(draw.choice(SIZES))
    side.write(path, data, atomic=draw.random() < 0.5)
    if side is world.here and draw.random() < 0.7:
        world.session.saved(side.name(path))
    return f"{side.root.name}: write {path} {len(data)}"


def _patch(world: World, side: Side) -> str:
    """Changes a few bytes of a file, so that large ones travel as deltas."""
    path = world.random.choice(PATHS)
    name = side.name(path)
    if name.is_symlink() or not name.is_file():
        return f"{side.root.name}: nothing to patch at {path}"
    data = bytearray(name.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 20] = world.content(0)
    side.write(path, bytes(data), atomic=True)
    if side is world.here:
        world.session.saved(name)
    return f"{side.root.name}: patch {path}"


def _save_often(world: World) -> str:
    path = world.random.choice(PATHS)
    for _ in range(5):
        world.here.write(path, world.content(200), atomic=False)
        world.session.saved(world.here.name(path))
    return f"here: save {path} five times"


def _delete(world: World, side: Side) -> str:
    path = world.random.choice(PATHS)
    side.delete(path)
    return f"{side.root.name}: delete {path}"


def _rename(world: World, side: Side) -> str:
    old, new = world.random.sample(PATHS, 2)
    side.rename(old, new)
    return f"{side.root.name}: rename {old} {new}"


def _symlink(world: World, side: Side) -> str:
    path = world.random.choice(["l", "d", "a.py"])
    target = f"target-{world.random.randrange(10**9)}"
    side.link(path, target)
    return f"{side.root.name}: link {path}"


def _chmod(world: World) -> str:
    path = world.random.choice(PATHS)
    name = world.here.name(path)
    if name.is_file() and not name.is_symlink():
        name.chmod(world.random.choice((0o644, 0o755)))
    return f"here: chmod {path}"


def _stranger(world: World) -> str:
    """A file that only the VM has."""
    path = f"runs/{world.random.randrange(5)}.log"
    world.there.write(path, world.content(50), atomic=False)
    return f"there: stranger {path}"


def _drop(world: World) -> str:
    for connection in world.link.connections[-1:]:
        connection.close()
    return "drop"


def _lose_an_answer(world: World) -> str:
    if world.link.is_down:
        return "no link to lose an answer"
    world.connect()
    if not (world.link.connections and world.link.newest.has_agent):
        return "no link came up to lose an answer"
    connection = world.link.newest
    lost = connection.mute()
    did = _save_often(world)
    was_lost = lost.wait(0.5)
    connection.close()
    return f"lost an answer: {was_lost} ({did})"


def _kill_agent(world: World) -> str:
    for connection in world.link.connections[-1:]:
        connection.kill_agent()
    return "kill the agent"


def _go_down(world: World) -> str:
    world.link.is_down = not world.link.is_down
    if world.link.is_down:
        _drop(world)
    return f"network down: {world.link.is_down}"


def _restart(world: World) -> str:
    world.restart()
    world.session.connect()
    return "restart"


def _connect(world: World) -> str:
    world.session.connect()
    return "connect"


def _pause(world: World) -> str:
    """Lets what was started go on: a whole sync, if the link allows."""
    if not world.link.is_down:
        world.settle()
    return "settle"


def _replace_vm(world: World) -> str:
    if world.link.is_down or world.random.random() < 0.7:
        return "the VM stays"
    world.settle()
    world.replace_vm()
    return "replace the VM"


_STEPS: list[Callable[[World], str]] = [
    *(4 * [lambda world: _edit(world, world.here)]),
    *(2 * [lambda world: _edit(world, world.there)]),
    lambda world: _patch(world, world.here),
    lambda world: _patch(world, world.there),
    lambda world: _delete(world, world.here),
    lambda world: _delete(world, world.there),
    lambda world: _rename(world, world.here),
    lambda world: _rename(world, world.there),
    lambda world: _symlink(world, world.here),
    lambda world: _symlink(world, world.there),
    _save_often,
    _chmod,
    _stranger,
    _drop,
    _lose_an_answer,
    _lose_an_answer,
    _kill_agent,
    _go_down,
    _restart,
    _connect,
    _connect,
    _pause,
    _replace_vm,
]
