"""The manifest's log: whole, torn, full, and against what happened meanwhile."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("the agent runs on POSIX machines", allow_module_level=True)

from colab_devsync.agent.manifest import Change, Manifest, Seen


def entry(number: int, looked_ns: int = 99) -> Seen:
    return Seen(f"{number:032d}", number, 1, 2, 3, looked_ns)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "manifest.log"


def loaded(log: Path, trust: bool = True) -> Manifest:
    manifest = Manifest(str(log))
    manifest.load(trust)
    return manifest


def test_a_reload_is_the_same(log: Path) -> None:
    first = loaded(log)
    names = ["a", "ä/\N{SNAKE}", "raw-\udcff", "new\nline"]
    first.record([(name, entry(i)) for i, name in enumerate(names)])
    first.record([("a", None), ("b", entry(7)), ("b", entry(8))])
    second = loaded(log)
    assert second.digest == first.digest != 0
    assert dict(second.hashes()) == dict(first.hashes())
    assert second.get("b") == entry(8)
    first.forget(second.paths())
    assert first.digest == 0


def test_only_whole_lines_count(log: Path) -> None:
    loaded(log).record([("a", entry(1)), ("b", entry(2))])
    whole = log.read_bytes()
    for cut in range(len(whole)):
        log.write_bytes(whole[:cut])
        found = dict(loaded(log).hashes())
        assert found.items() <= {"a": entry(1).hash, "b": entry(2).hash}.items()
        assert len(found) >= whole[:cut].count(b"\n")


def test_without_trust_nothing_is_vouched_for(log: Path) -> None:
    loaded(log).record([("a", entry(1))])
    assert loaded(log, trust=False).get("a") == entry(1, looked_ns=0)


def test_a_look_does_not_undo_what_happened_meanwhile(log: Path) -> None:
    manifest = loaded(log)
    manifest.record([("a", entry(1)), ("b", entry(1))])
    known = manifest.get("a")
    manifest.record([("a", entry(2))])  # put while the look was under way
    manifest.observe(
        [
            Change("a", known, None),
            Change("b", manifest.get("b"), entry(3)),
            Change("c", None, entry(4)),
        ]
    )
    assert dict(manifest.hashes()) == {
        "a": entry(2).hash,
        "b": entry(3).hash,
        "c": entry(4).hash,
    }
    assert dict(loaded(log).hashes()) == dict(manifest.hashes())


def test_a_log_that_takes_no_more_keeps_what_it_has(log: Path) -> None:
    import resource
    import signal

    manifest = loaded(log)
    manifest.record([("a", entry(1))])
    size = log.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard))
    try:
        manifest.record([("b", entry(2))])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert log.stat().st_size == size
    manifest.record([("c", entry(3))])
    assert set(manifest.paths()) == {"a", "b", "c"}
    assert set(loaded(log).paths()) == {"a", "c"}
