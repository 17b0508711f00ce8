"""Project trees to measure with: the same bytes on every machine and every run.

A tree looks like a real one to a compressor: source text and JSON with the
repetition such files have, and some data that does not compress at all.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SEED = 20240607

FULL_FILES = 5_350
FULL_BYTES = 146 * 1024 * 1024
BIG_FILE_BYTES = 100_000_000

_CORPUS_BYTES = 12 * 1024 * 1024
_SYLLABLES = [a + b for a in "bcdfglmnprstvz" for b in "aeiou"]
_STATEMENTS = (
    "        {a} = self.{b}({c}, {d}={n})\n",
    "    {a}, {b} = {c}.{d}({e})\n",
    "    if {a}.{b} is None or {c} > {n}:\n",
    "        return {a}[{b}] + {c} * {n}\n",
    "def {a}_{b}({c}: int, {d}: str = {e!r}) -> None:\n",
    "    for {a} in range({n}, len({b})):\n",
    "        raise ValueError(f'{a} of {b}: {{{c}}} is not {d}')\n",
    "    # {a} {b} the {c} of every {d} before {e}\n",
    "\n",
)


@dataclass(frozen=True)
class Tree:
    root: Path
    files: int
    bytes: int


def full_tree(root: Path, scale: float = 1.0) -> Tree:
    """5,350 files, 146 MiB, about 42 MB after zlib. `scale` makes it smaller."""
    rng = random.Random(SEED)
    text, table = _corpora()
    total = 0
    files = round(FULL_FILES * scale)
    weights = [_weight(index) for index in range(files)]
    unit = FULL_BYTES * scale / sum(weights)
    for index, weight in enumerate(weights):
        size = max(64, round(weight * unit))
        path = root / _place(index)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_content(rng, index, size, text=text, table=table))
        total += size
    return Tree(root, files, total)


def flat_tree(root: Path, files: int, size: int = 1_000) -> Tree:
    """Many small files, 200 a folder: for what must not depend on the tree."""
    rng = random.Random(SEED)
    text = _source_corpus(rng, 1024 * 1024)
    for index in range(files):
        folder = root / f"package_{index // 200:03d}"
        if index % 200 == 0:
            folder.mkdir(parents=True, exist_ok=True)
        start = rng.randrange(len(text) - size)
        (folder / f"module_{index:06d}.py").write_bytes(text[start : start + size])
    return Tree(root, files, files * size)


def big_file(path: Path, size: int = BIG_FILE_BYTES) -> None:
    """Numbered lines of 80 bytes whose text never repeats."""
    rng = random.Random(SEED)
    with path.open("wb") as out:
        line = 0
        for _ in range(0, size, 800_000):
            noise = rng.randbytes(350_000).hex().encode()
            block = b"".join(
                b"%08d %s\n" % (line + n, noise[n * 70 : n * 70 + 70])
                for n in range(10_000)
            )
            line += 10_000
            out.write(block[: size - out.tell()])


def change_one_line(path: Path, number: int) -> None:
    """Replaces a line in the middle; no two numbers give the file the same size,
    because rsync overlooks a change within a second that keeps it. At once: a half
    written file would be mirrored first, and taken for the new version."""
    data = path.read_bytes()
    start = data.index(b"\n", len(data) // 2) + 1
    end = data.index(b"\n", start) + 1
    fresh = path.parent.parent / "changed.new"
    fresh.write_bytes(data[:start] + b"changed %s\n" % (b"x" * number) + data[end:])
    fresh.replace(path)


def source_bytes(size: int, seed: int = SEED) -> bytes:
    """`size` bytes of source text, for one saved file."""
    return _source_corpus(random.Random(seed), size)[:size]


def _weight(index: int) -> float:
    """Relative size of file `index`: most are small, a few hold half the bytes."""
    if index % 500 == 7:
        return 130.0
    if index % 20 == 3:
        return 8.0
    return 0.35 + (index * 7919 % 97) / 60.0


def _place(index: int) -> str:
    suffix = "py"
    if index % 500 == 7:
        suffix = "bin" if index % 2000 == 1007 else "json"
    elif index % 20 == 3:
        suffix = "json"
    elif index % 50 == 11:
        suffix = "png"
    package, module = divmod(index, 150)
    return f"pkg_{package:02d}/part_{module // 30}/file_{index:05d}.{suffix}"


def _content(
    rng: random.Random, index: int, size: int, *, text: bytes, table: bytes
) -> bytes:
    suffix = _place(index).rpartition(".")[2]
    if suffix in ("bin", "png"):
        return rng.randbytes(size)
    corpus = table if suffix == "json" else text
    start = rng.randrange(len(corpus))
    piece = corpus[start : start + size]
    while len(piece) < size:
        piece += corpus[: size - len(piece)]
    return piece


@cache
def _corpora() -> tuple[bytes, bytes]:
    rng = random.Random(SEED)
    return _source_corpus(rng), _json_corpus(rng)


def _words(rng: random.Random, count: int) -> list[str]:
    return ["".join(rng.choices(_SYLLABLES, k=rng.randint(1, 4))) for _ in range(count)]


def _source_corpus(rng: random.Random, size: int = _CORPUS_BYTES) -> bytes:
    return _joined(_statements(rng), size)


def _statements(rng: random.Random) -> Iterator[str]:
    words = _words(rng, 600)
    # A page of code speaks of few things: names change slowly along the text.
    while True:
        local = rng.choices(words, k=14)
        for _ in range(60):
            a, b, c, d, e = rng.choices(local, k=5)
            form = rng.choice(_STATEMENTS)
            yield form.format(a=a, b=b, c=c, d=d, e=e, n=rng.randrange(100))


def _json_corpus(rng: random.Random) -> bytes:
    def rows() -> Iterator[str]:
        words = _words(rng, 200)
        while True:
            label = rng.choice(words)
            yield (
                f'{{"image_id": {rng.randrange(10**5)}, "category": "{label}", '
                f'"bbox": [{rng.randrange(640)}, {rng.randrange(480)}, '
                f'{rng.randrange(99)}, {rng.randrange(99)}], "iscrowd": 0}},\n'
            )

    return _joined(rows(), _CORPUS_BYTES)


def _joined(lines: Iterator[str], size: int) -> bytes:
    parts: list[bytes] = []
    length = 0
    for line in lines:
        parts.append(line.encode())
        length += len(parts[-1])
        if length >= size:
            return b"".join(parts)[:size]
    return b"".join(parts)
