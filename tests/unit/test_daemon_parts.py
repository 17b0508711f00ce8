"""Lock, address, framing, program output as text: the daemon's small parts."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colab_devsync.daemon import address, framing
from colab_devsync.daemon.framing import BadFrame
from colab_devsync.daemon.lock import FileLock
from colab_devsync.daemon.projects import find_root, require_root
from colab_devsync.errors import ConfigError, DevsyncError
from colab_devsync.lsp.processes import Text

HOLD = """
import sys
from pathlib import Path
from colab_devsync.daemon.lock import FileLock
print(FileLock(Path(sys.argv[1])).try_acquire(), flush=True)
sys.stdin.read()
"""


def test_a_lock_excludes_other_processes_and_dies_with_its_owner(
    tmp_path: Path,
) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        mine = FileLock(path)
        assert not mine.try_acquire()
        assert path.read_text() == f"{holder.pid}\n"
        holder.kill()
    assert mine.try_acquire()
    mine.release()
    assert path.read_text() == f"{os.getpid()}\n"


def test_the_address_is_in_the_folder_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLAB_DEVSYNC_RUNTIME_DIR", str(tmp_path / "r"))
    monkeypatch.delenv("COLAB_DEVSYNC_LOG_DIR", raising=False)
    found = address.current_address()
    assert found.lock.parent == tmp_path / "r"
    assert found.log.parent == tmp_path / "r" / "log"
    assert address.current_address() == found


def test_a_link_in_place_of_the_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "r").symlink_to(tmp_path / "theirs")
    monkeypatch.setenv("COLAB_DEVSYNC_RUNTIME_DIR", str(tmp_path / "r"))
    with pytest.raises(DevsyncError, match="not a folder of yours"):
        address.current_address()


@given(
    st.dictionaries(
        st.text(max_size=5), st.text(max_size=20) | st.none() | st.integers()
    )
)
def test_messages_come_back_as_they_were(message: dict[str, object]) -> None:
    stream = io.BytesIO(framing.encode(message) * 2)
    assert framing.read(stream) == message
    assert framing.read(stream) == message
    assert framing.read(stream) is None


def test_a_message_cut_short_is_the_end() -> None:
    data = framing.encode({"a": 1})
    assert framing.read(io.BytesIO(data[:-1])) is None


@pytest.mark.parametrize("data", [b"X: 1\r\n\r\n{}", b"Content-Length: 2\r\n\r\n[]"])
def test_other_protocols_are_refused(data: bytes) -> None:
    with pytest.raises(BadFrame):
        framing.read(io.BytesIO(data))


@given(st.lists(st.binary(max_size=8)))
def test_any_bytes_survive_as_text_through_json(chunks: list[bytes]) -> None:
    text, back = Text(), b""
    bodies = [text.body("r", "stdout", chunk) for chunk in chunks]
    bodies.append(text.body("r", "stdout", b"", final=True))
    for body in bodies:
        body = json.loads(json.dumps(body))
        assert body["offset"] == len(back)
        back += body["text"].encode("utf-8", "surrogateescape")
    assert back == b"".join(chunks)


def test_the_project_is_found_from_a_folder_inside(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert find_root(inner) is None
    with pytest.raises(ConfigError, match=r"No \.colabremote\.toml"):
        require_root(inner)
    (tmp_path / ".colabremote.toml").write_text("")
    assert find_root(inner) == tmp_path
    (inner / ".colabremote.toml").write_text("")
    assert find_root(inner) == inner
