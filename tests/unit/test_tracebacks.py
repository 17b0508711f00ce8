"""Tracebacks in a stream of text: what real Pythons print, cut anywhere."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from colab_devsync.core.failures import Failure, PathMapping, Related, failures_of
from colab_devsync.core.tracebacks import (
    MAX_TRACEBACKS,
    Frame,
    Traceback,
    TracebackParser,
)
from tests.agent.interpreters import interpreters

PYTHONS = list(interpreters().items())
WITH_GROUPS = [(v, path) for v, path in PYTHONS if int(v[2:]) >= 11]

CHAINED = """\
def low():
    raise ValueError("zu groß: 3 €")
def middle():
    try:
        low()
    except ValueError as exc:
        raise KeyError("x") from exc
try:
    middle()
except KeyError:
    1/0
"""
GROUP = """\
def fail():
    raise ValueError("a\\nsecond line")
def both():
    errors = []
    try:
        fail()
    except ValueError as exc:
        errors.append(exc)
    try:
        raise ExceptionGroup("inner", [OSError(1), *errors])
    except ExceptionGroup as exc:
        errors.append(exc)
    raise ExceptionGroup("outer", errors)
try:
    both()
except ExceptionGroup:
    {then}
"""


def stderr_of(python: str, path: Path, source: str, **env: str) -> str:
    path.write_text(source, encoding="utf-8")
    done = subprocess.run(
        [python, path.name],
        cwd=path.parent,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **env},
        capture_output=True,
        check=False,
    )
    return done.stderr.decode()


def parse(text: str) -> tuple[Traceback, ...]:
    parser = TracebackParser()
    parser.feed(text)
    parser.end()
    return parser.found


def parse_in_pieces(text: str, seed: int) -> tuple[Traceback, ...]:
    parser, dice = TracebackParser(), random.Random(seed)
    while text:
        size = dice.randint(1, 50)
        parser.feed(text[:size])
        text = text[size:]
    parser.end()
    return parser.found


def only(text: str) -> Traceback:
    (found,) = parse(text)
    return found


def lines_of(traceback: Traceback) -> list[tuple[int, str]]:
    return [(frame.line, frame.name) for frame in traceback.frames]


# --- what real Pythons print ----------------------------------------------------------


@pytest.mark.parametrize(("version", "python"), PYTHONS)
@pytest.mark.parametrize("colours", ["0", "1"])
def test_a_chain(version: str, python: str, colours: str, tmp_path: Path) -> None:
    env = {"PYTHON_COLORS": colours, "TERM": "xterm"}
    text = stderr_of(python, tmp_path / "train.py", CHAINED, **env)
    found = only(text)
    assert found.text == "ZeroDivisionError: division by zero"
    assert lines_of(found) == [(11, "<module>")]
    assert found.frames[0].code == "1/0"
    assert [one.text for one in found.earlier] == [
        "ValueError: zu groß: 3 €",
        "KeyError: 'x'",
    ]
    assert lines_of(found.earlier[0]) == [(5, "middle"), (2, "low")]
    assert lines_of(found.earlier[1]) == [(9, "<module>"), (7, "middle")]
    assert [parse_in_pieces(text, seed) for seed in range(20)] == [(found,)] * 20


@pytest.mark.parametrize(("version", "python"), WITH_GROUPS)
def test_nested_exception_groups(version: str, python: str, tmp_path: Path) -> None:
    text = stderr_of(python, tmp_path / "train.py", GROUP.format(then="raise"))
    found = only(text)
    assert found.text == "ExceptionGroup: outer (2 sub-exceptions)"
    assert lines_of(found) == [(15, "<module>"), (13, "both")]
    first, second = found.parts
    assert first.text.splitlines()[0] == "ValueError: a"
    assert lines_of(first) == [(6, "both"), (2, "fail")]
    assert second.text == "ExceptionGroup: inner (2 sub-exceptions)"
    assert lines_of(second) == [(10, "both")]
    assert [part.text for part in second.parts] == ["OSError: 1", first.text]
    assert second.parts[0].frames == ()
    assert [parse_in_pieces(text, seed) for seed in range(20)] == [(found,)] * 20


@pytest.mark.parametrize(("version", "python"), WITH_GROUPS)
def test_a_group_in_a_chain(version: str, python: str, tmp_path: Path) -> None:
    text = stderr_of(python, tmp_path / "train.py", GROUP.format(then="1/0"))
    found = only(text + "step 2\n")
    assert found.text == "ZeroDivisionError: division by zero"
    (group,) = found.earlier
    assert [len(part.parts) for part in group.parts] == [0, 2]


@pytest.mark.parametrize(("version", "python"), PYTHONS)
def test_syntax_errors(version: str, python: str, tmp_path: Path) -> None:
    text = stderr_of(python, tmp_path / "train.py", "x = 1\nif x\n    pass\n")
    found = only(text)
    assert found.type == "SyntaxError"
    (frame,) = found.frames
    assert (Path(frame.path).name, frame.line, frame.name) == ("train.py", 2, "")
    assert frame.code == "if x"
    imported = stderr_of(python, tmp_path / "other.py", "import train\n")
    found = only(imported)
    assert lines_of(found)[0] == (1, "<module>")
    assert lines_of(found)[-1] == (2, "")


@pytest.mark.parametrize(("version", "python"), PYTHONS)
def test_deep_recursion(version: str, python: str, tmp_path: Path) -> None:
    source = "def f(n):\n    return f(n + 1)\nf(0)\n"
    found = only(stderr_of(python, tmp_path / "train.py", source))
    assert found.type == "RecursionError"
    assert found.frames[0].line == 3
    assert set(lines_of(found)[1:]) == {(2, "f")}


# --- what stands in between -----------------------------------------------------------

PLAIN = """\
Traceback (most recent call last):
  File "/content/seg/train.py", line 30, in <module>
    main()
    ~~~~^^
  File "/content/seg/train.py", line 12, in main
    loss = model(
        batch,
        ^^^^^^
    ...<3 lines>...
    )
RuntimeError: shapes differ
"""


def test_other_lines_before_in_between_and_after() -> None:
    text = PLAIN.replace("    main()\n", "    main()\nINFO: step 3\nstep 4\n\n")
    found = only(f"INFO: start\n\n{text}INFO: stop\n  indented\nstep 5\n")
    assert found == only(PLAIN)
    assert [frame.code for frame in found.frames] == ["main()", "loss = model("]


def test_a_line_that_looks_like_the_exception_but_is_not() -> None:
    text = PLAIN.replace("    ~~~~^^\n", "    ~~~~^^\nEpoch: 3\n")
    assert only(text) == only(PLAIN)


def test_a_progress_bar_on_the_same_line() -> None:
    bar = "\r  0%|    | 0/9\r 10%|█   | 1/9 [00:01<00:09]"
    assert only(f"{bar}{PLAIN}{bar}\n") == only(PLAIN)
    parser = TracebackParser()
    for _ in range(2000):
        assert not parser.feed(bar)
    assert parser.feed(PLAIN)
    assert parser.found == (only(PLAIN),)


def test_carriage_returns_of_a_terminal() -> None:
    assert only(PLAIN.replace("\n", "\r\n")) == only(PLAIN)


def test_lines_marked_by_process_are_read_apart() -> None:
    lines = PLAIN.splitlines()
    mixed = "".join(f"[rank0]: {line}\n[rank1]: {line}\n" for line in lines)
    assert parse(mixed) == (only(PLAIN), only(PLAIN))


def test_it_is_told_when_it_ends_and_grows_with_the_chain() -> None:
    parser = TracebackParser()
    assert not parser.feed(PLAIN.rpartition("RuntimeError")[0])
    assert parser.feed("RuntimeError: shapes differ\n")
    assert parser.found[0].text == "RuntimeError: shapes differ"
    assert not parser.feed("\nDuring handling of the above exception, ")
    assert not parser.feed("another exception occurred:\n\n")
    assert parser.feed(PLAIN.replace("RuntimeError", "OSError"))
    (found,) = parser.found
    assert (found.type, found.earlier[0].type) == ("OSError", "RuntimeError")


def test_the_end_of_the_program_ends_the_last_line() -> None:
    parser = TracebackParser()
    assert not parser.feed(PLAIN.rstrip("\n"))
    assert parser.end()
    assert parser.found == (only(PLAIN),)


def test_a_message_of_several_lines() -> None:
    more = '\tMissing key(s) in state_dict: "fc.weight".\n'
    assert only(f"{PLAIN}{more}step\n").text == f"{only(PLAIN).text}\n{more.rstrip()}"


@pytest.mark.parametrize(
    "text",
    [
        "ValueError",
        "ValueError: ",
        "AssertionError: a: b: c",
        "torch.cuda.OutOfMemoryError: CUDA out of memory.",
        "__main__.main.<locals>.Odd: x",
        "socket.timeout: timed out",
        "zlib.error: Error -3",
        "StopIteration: 7",
        "Größenfehler: 3",
    ],
)
def test_names_of_exceptions(text: str) -> None:
    assert only(PLAIN.replace("RuntimeError: shapes differ", text)).text == text.strip()


@pytest.mark.parametrize(
    "line",
    [
        "Done.",
        "done",
        "loss: 3.1",
        "INFO:root:x",
        "3: x",
        "saved a.b to c",
        "...",
        "a.",
    ],
)
def test_other_lines_are_no_exceptions(line: str) -> None:
    assert parse(PLAIN.replace("RuntimeError: shapes differ", line)) == ()


def test_a_worker_s_traceback_inside_the_message() -> None:
    text = PLAIN.replace("shapes differ", "Caught KeyError in DataLoader worker 0.")
    inner = PLAIN.replace("Traceback", "Original Traceback").replace("12", "7")
    outer, original = parse(text + inner)
    assert outer.text.startswith("RuntimeError: Caught KeyError")
    assert lines_of(original)[-1] == (7, "main")


def test_much_output_leaves_little() -> None:
    parser = TracebackParser()
    for number in range(200):
        parser.feed(PLAIN.replace("differ", f"differ {number}") + "x" * 100_000)
    assert len(parser.found) == MAX_TRACEBACKS
    assert parser.found[-1].text.endswith("differ 199")
    frames = '  File "a.py", line 1, in f\n    f()\n' * 100_000
    parser.feed(f"Traceback (most recent call last):\n{frames}{'E' * 10**7}: x\n")
    parser.feed("Traceback (most recent call last):\n" + frames + "KeyError: 1\n")
    assert len(parser.found[-1].frames) <= 200
    assert len(repr(parser.found)) < 1_000_000


def test_the_same_again_is_told_once() -> None:
    parser = TracebackParser()
    parser.feed(PLAIN * 3 + "step\n")
    assert parser.found == (only(PLAIN),)


def test_random_text_is_survived() -> None:
    dice = random.Random(3)
    pieces = [
        *PLAIN.splitlines(keepends=True),
        "  | ",
        "  +-+---- 1 ----\n",
        "\r",
        "\n",
    ]
    pieces += ["  + Exception Group Traceback (most recent call last):\n", "\x1b[31m"]
    pieces += ["    +------------------------------------\n", "    | KeyError: 1\n"]
    pieces += ["During handling of the above exception, another exception occurred:\n"]
    for _ in range(300):
        parse("".join(dice.choices(pieces, k=40)))
    assert parse(PLAIN)  # nothing is shared between parsers


# --- where it is in the project -------------------------------------------------------

OURS = {"train.py", "pkg/data.py"}


def mapping(cwd: str = "/content/seg") -> PathMapping:
    return PathMapping(("/content/seg", "/mnt/real/seg"), cwd, OURS.__contains__)


def failed(*frames: Frame, earlier: tuple[Traceback, ...] = ()) -> Traceback:
    return Traceback("ValueError: x", frames, earlier)


MAIN = Frame("/content/seg/train.py", 3, "<module>")
DATA = Frame("/mnt/real/seg/pkg/data.py", 7, "load")
LIBRARY = Frame("/usr/lib/python3.12/json/decoder.py", 355, "raw_decode")


def test_the_innermost_frame_of_the_project_is_in_front() -> None:
    (found,) = failures_of([failed(MAIN, DATA)], mapping())
    related = (Related("train.py", 3, "called from here, in <module>"),)
    assert found == Failure("pkg/data.py", 7, "ValueError: x", related)


def test_a_failing_library_is_said() -> None:
    (found,) = failures_of([failed(MAIN, LIBRARY)], mapping())
    assert (found.path, found.line) == ("train.py", 3)
    assert (
        found.message == f"ValueError: x\nraised at {LIBRARY.path}:355, in raw_decode"
    )


def test_a_chain_is_related() -> None:
    (found,) = failures_of([failed(MAIN, earlier=(failed(DATA),))], mapping())
    assert found.related == (Related("pkg/data.py", 7, "before: ValueError: x"),)
    inside = failed(LIBRARY, earlier=(failed(DATA),))
    (found,) = failures_of([inside], mapping())
    assert (found.path, found.related) == ("pkg/data.py", ())
    assert found.message == "ValueError: x\nafter: ValueError: x"


@pytest.mark.parametrize(
    ("path", "cwd", "local"),
    [
        ("train.py", "/content/seg", "train.py"),
        ("../train.py", "/content/seg/pkg", "train.py"),
        ("/content/seg/./pkg/data.py", "/", "pkg/data.py"),
        ("/content/segment/train.py", "/", None),
        ("/content/seg/gone.py", "/", None),
        ("<string>", "/content/seg", None),
        ("<frozen runpy>", "/content/seg", None),
        ("../../train.py", "/content/seg", None),
    ],
)
def test_paths_of_the_vm(path: str, cwd: str, local: str | None) -> None:
    assert mapping(cwd).local(path) == local


def test_libraries_inside_the_project_are_not_the_project() -> None:
    everything = PathMapping(("/p",), "/p", lambda path: True)
    assert everything.local(".venv/lib/python3.12/site-packages/a.py") is None
    assert everything.local("a.py") == "a.py"


def test_what_never_touched_the_project_and_what_was_stopped_is_no_failure() -> None:
    stopped = Traceback("KeyboardInterrupt", (MAIN,))
    assert failures_of([failed(LIBRARY), failed(), stopped], mapping()) == ()


def test_every_part_of_a_group_is_shown() -> None:
    part = Traceback("KeyError: 1", (DATA,))
    group = Traceback("ExceptionGroup: 2", (MAIN,), parts=(part, failed(MAIN), part))
    found = failures_of([group], mapping())
    assert [(one.path, one.message) for one in found] == [
        ("train.py", "ExceptionGroup: 2"),
        ("pkg/data.py", "KeyError: 1"),
        ("train.py", "ValueError: x"),
    ]


def test_this_interpreter_is_among_them() -> None:
    assert "{}.{}".format(*sys.version_info[:2]) in interpreters()
