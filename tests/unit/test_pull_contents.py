"""Both ends compute the same of a content, whichever form of hash they use."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from colab_devsync.agent import gmac
from colab_devsync.core.pulls import Version
from colab_devsync.engine.pulls import contents
from colab_devsync.engine.pulls.incoming import Incoming, Outcome

SIZES = (0, 1, 15, 16, 17, 4096, 1_000_003)
WAIT_S = 60


def ours(data: bytes, form: str) -> str:
    total = contents.begin(form)
    for at in range(0, len(data), 300_000):
        total.update(data[at : at + 300_000])
    return total.text()


@pytest.mark.parametrize("size", SIZES)
def test_the_agent_computes_what_we_do(size: int) -> None:
    data, form = bytearray(os.urandom(size)), contents.fast_form()
    kind = gmac.found()
    assert kind is not None
    theirs = kind(bytes.fromhex(form.partition(":")[2]))
    for at in range(0, size, 70_000):
        theirs.update(memoryview(data)[at : at + 70_000])
    assert ours(bytes(data), form) == f"{form}:{theirs.hexdigest()}"


def test_a_flipped_bit_another_key_or_another_length_make_another_hash() -> None:
    data, form = bytes(100_000), contents.fast_form()
    flipped = data[:50_000] + b"\1" + data[50_001:]
    hashes = {ours(one, form) for one in (data, flipped, data[:-1], data + b"\0")}
    hashes.add(ours(data, contents.fast_form()))
    assert len(hashes) == 5


def test_without_a_form_it_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    wanted = hashlib.sha256(b"content").hexdigest()
    assert contents.hash_of(tmp_path / "a", contents.SHA256) == wanted
    assert contents.form_of(wanted) == contents.SHA256


def test_whether_a_file_has_a_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    for form in (contents.SHA256, contents.fast_form()):
        held = ours(b"content", form)
        assert contents.form_of(held) == form
        assert contents.is_content(tmp_path / "a", held)
        assert not contents.is_content(tmp_path / "a", ours(b"context", form))
        assert not contents.is_content(tmp_path / "missing", held)


@pytest.mark.parametrize("text", ["", "gmac:zz:y", ":", "gmac:00", "gmac::ff"])
def test_what_is_no_hash_is_no_content(tmp_path: Path, text: str) -> None:
    (tmp_path / "a").write_bytes(b"content")
    assert contents.form_of(text) == contents.SHA256
    assert not contents.is_content(tmp_path / "a", text)


def test_gmac_refuses_a_key_of_another_length() -> None:
    kind = gmac.found()
    assert kind is not None
    with pytest.raises(ValueError, match="a key of 3 bytes"):
        kind(b"key")


@pytest.mark.parametrize("is_right", [True, False])
def test_a_vm_that_has_only_sha256(tmp_path: Path, is_right: bool) -> None:
    data = os.urandom(700_000)
    ends: list[Outcome] = []
    incoming = Incoming(
        "a.pt",
        Version(1, 2, len(data), 3),
        [],
        form=contents.fast_form(),
        part=tmp_path / "part",
        have=[],
        note=lambda text: None,
        on_hungry=lambda: None,
        on_end=ends.append,
    )
    thread = incoming.start()
    incoming.write(0, [data[:300_000], data[300_000:]])
    wanted = hashlib.sha256(data if is_right else data[1:]).hexdigest()
    incoming.expect(wanted)
    thread.join(WAIT_S)
    assert ends == [Outcome(content=wanted) if is_right else Outcome(damaged=True)]
