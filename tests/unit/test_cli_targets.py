"""`run [FILE | -m MODULE] [-- ARGS]`, and the last lines of a log. Pure."""

from __future__ import annotations

import pytest

from colab_devsync.cli.run_tail import BEYOND, Tail, only
from colab_devsync.cli.targets import split

WITH_VALUE = {"--project", "--port"}


@pytest.mark.parametrize(
    ("line", "own", "words"),
    [
        ("", "", ""),
        ("--detach", "--detach", ""),
        ("a.py", "a.py", ""),
        ("a.py x -m y --json", "a.py", "x -m y --json"),
        ("a.py -- x", "a.py", "x"),
        ("a.py -- -- x", "a.py", "-- x"),
        ("-v a.py -v", "-v a.py", "-v"),
        ("--project d a.py x", "--project d a.py", "x"),
        ("--project=d a.py x", "--project=d a.py", "x"),
        ("--port 1 -m p.q --port 2", "--port 1 -m p.q", "--port 2"),
        ("--module p x", "--module p", "x"),
        ("--module=p -- x", "--module=p", "x"),
        ("-mp x", "-mp", "x"),
        ("-- x a.py", "", "x a.py"),
        ("--detach -- --detach", "--detach", "--detach"),
        ("-m", "-m", ""),
        ("- x", "-", "x"),
    ],
)
def test_what_is_ours_and_what_the_programs(line: str, own: str, words: str) -> None:
    assert split(line.split(), WITH_VALUE) == (own.split(), words.split())


def taken(tail: Tail, stream: str, text: str) -> None:
    tail.take({"stream": stream, "text": text})


def test_the_last_lines_of_each_stream() -> None:
    tail = Tail(2, ("stdout", "stderr"))
    assert tail.start({"stdout": 100, "stderr": 0}) == {"stdout": 0, "stderr": 0}
    for piece in ("a\nb", "b\nü", "\n", "end"):
        taken(tail, "stdout", piece)
    assert tail.shown() == [{"offset": 5, "stream": "stdout", "text": "ü\nend"}]
    assert tail.end() == {"stdout": 11, "stderr": 0}


def test_only_the_end_of_a_long_log_is_asked_for() -> None:
    tail = Tail(100, ("stderr",))
    start = tail.start({"stdout": 10**9, "stderr": 10**9})
    assert start["stdout"] == BEYOND
    assert 10**9 - 1_000_000 < start["stderr"] < 10**9
    taken(tail, "stderr", "x" * 1000)
    assert tail.end()["stderr"] == start["stderr"] + 1000


def test_no_lines_at_all() -> None:
    tail = Tail(0, ("stdout",))
    tail.start({"stdout": 5, "stderr": 0})
    taken(tail, "stdout", "a\nb\n")
    assert tail.shown() == []
    assert only(()) == {"stdout": BEYOND, "stderr": BEYOND}
