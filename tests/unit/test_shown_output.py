"""A run's output in an editor's log: whole lines, wherever it was cut."""

from __future__ import annotations

from typing import Any, cast

import pytest

from colab_devsync.lsp import showing
from colab_devsync.lsp.server import DevsyncServer


class Log:
    """As much of a server as the log needs."""

    def __init__(self) -> None:
        self.shown_runs: dict[str, dict[str, str]] = {}
        self.said: list[str] = []

    def tell(self, method: str, params: Any) -> None:
        self.said.append(params.message)


def said(*pieces: str | tuple[str, str], end: bool = True) -> list[str]:
    log = Log()
    ls = cast(DevsyncServer, log)
    showing.show_output(ls, "a-1")
    for piece in pieces:
        stream, text = piece if isinstance(piece, tuple) else ("stdout", piece)
        showing.log_output(ls, "a-1", stream, text)
    if end:
        showing.run_ended(ls, "a-1", {"exitCode": 0})
        assert log.said.pop() == "a-1 ended with exit code 0."
        showing.log_output(ls, "a-1", "stdout", "too late\n")
    return log.said


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_lines_are_whole(size: int) -> None:
    text = "one\ntwo\n\nthree\nno end"
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert "\n".join(said(*pieces)) == text


def test_streams_do_not_mix_within_a_line() -> None:
    pieces = ["out", ("stderr", "err"), "\n", ("stderr", " or\n")]
    assert said(*pieces) == ["out", "err or"]


def test_a_progress_bar_moves_and_a_flood_without_lines_is_no_memory() -> None:
    assert said("\r 1%", "\r 2%", end=False) == ["", " 1%"]
    assert said("x" * 3000, "x" * 3000, end=False) == ["x" * 6000]


def test_nobody_who_did_not_ask_is_shown_anything() -> None:
    log = Log()
    showing.log_output(cast(DevsyncServer, log), "a-1", "stdout", "text\n")
    showing.run_ended(cast(DevsyncServer, log), "a-1", {"exitCode": 0})
    assert log.said == []
