"""Every key and value of a TOML document is found where it stands."""

from __future__ import annotations

import json
from typing import Any

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from colab_devsync.core.config.positions import Path, Span, locate


def cut(text: str, span: Span) -> str:
    lines = text.split("\n")
    if span.line == span.end_line:
        return lines[span.line][span.column : span.end_column]
    middle = lines[span.line + 1 : span.end_line]
    first, last = lines[span.line][span.column :], lines[span.end_line]
    return "\n".join([first, *middle, last[: span.end_column]])


def leaves(value: Any, path: Path = ()) -> dict[Path, Any]:
    """Path and value of everything in a document that holds nothing else."""
    found: dict[Path, Any] = {}
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for part, item in inner:
        if isinstance(item, (dict, list)):
            found |= leaves(item, (*path, part))
        else:
            found[(*path, part)] = item
    return found


def assert_all_found(text: str) -> None:
    """Oracle: what is cut out at a span must parse to what tomli read there."""
    places = locate(text)
    expected = leaves(tomli.loads(text))
    assert {path for path in places.values if path in expected} == set(expected)
    for path, value in expected.items():
        shown = cut(text, places.values[path])
        assert tomli.loads(f"x = {shown}") == {"x": value}
        for length in range(1, len(path) + 1):
            part = path[length - 1]
            if isinstance(part, str):
                name = cut(text, places.keys[path[:length]])
                assert tomli.loads(f"{name} = 1") == {part: 1}


@pytest.mark.parametrize(
    "text",
    [
        "a = 1",
        "a.b . 'c d' = 1 # a = 2\nx = '''\n[a]\nb = 2'''\ny = 3\n",
        '[a."b.c"]\nd = """x \\""" y"""""\n[a.e]\nf = [1, # ]\n 2,\n [3, {g = "]"}]]\n',
        "[[p]]\nx = 1\n[p.q]\ny = 2\n[[p]]\nx = 3\n[[p.r]]\nz = 4\n[[p.r]]\nz = 5\n",
        "a = {b = {c = 1}, d.e = [2, 3]}\r\nf = 1979-05-27 07:32:00Z # x\r\n",
        "a = \"#\"\nb = '\"'\nc = \"\"\nd = ''\ne = \"\"\"\"\"\"\nf = ''''a'''''\n",
        'a = { # comment }\n b = 1,\n c = 2,\n}\n"" = 3\n',
        '"ä\\u00e9\\"" = "ü" # é\n[ x . y ]\nz = +inf\n',
    ],
)
def test_difficult_documents(text: str) -> None:
    assert_all_found(text)


def test_lines_and_columns_count_from_zero() -> None:
    places = locate("# one\n[link]\nport =  22 # ssh\n")
    assert places.keys[("link", "port")] == Span(2, 0, 2, 4)
    assert places.values[("link", "port")] == Span(2, 8, 2, 10)
    assert places.values[("link",)] == Span(1, 0, 1, 6)
    assert places.keys[("link",)] == Span(1, 1, 1, 5)


def test_what_is_absent_is_shown_at_the_table_around_it() -> None:
    places = locate("\n[[pull]]\n[[pull]]\n")
    assert places.value(("pull", 1, "remote")).line == 2
    assert places.value(("pull", 0, "remote")).line == 1
    assert places.value(("link", "host")) == Span(0, 0, 0, 0)


# --- generated documents ------------------------------------------------------------

NAMES = st.text("abz_-0 .#\"'\\=[]é\t", max_size=4)
TEXTS = st.text("ab \"'\\#[]{},=\n\té", max_size=8)


def spelled(draw: st.DrawFn, text: str, *, key: bool) -> str:
    """`text` as TOML, in one of the ways that can say it."""
    ways = [json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")]
    if "'" not in text and "\n" not in text:
        ways.append(f"'{text}'")
    if key and text and set(text) <= set("abz_-0"):
        ways.append(text)
    if not key:
        escaped = text.replace("\\", "\\\\").replace('"""', '""\\"')
        if not escaped.endswith('"'):
            ways.append(f'"""\n{escaped}"""')
        if "'" not in text:
            ways.append(f"'''\n{text}'''")
    return draw(st.sampled_from(ways))


@st.composite
def values(draw: st.DrawFn, depth: int = 2) -> str:
    kinds = ["int", "bool", "date", "text", "text"] + (["list", "table"] * bool(depth))
    kind = draw(st.sampled_from(kinds))
    if kind == "int":
        return str(draw(st.integers(-9999, 9999)))
    if kind == "bool":
        return draw(st.sampled_from(["true", "false", "1e3", "0x1f", "-inf"]))
    if kind == "date":
        return draw(st.sampled_from(["1979-05-27", "07:32:00", "1979-05-27 07:32:00Z"]))
    if kind == "text":
        return spelled(draw, draw(TEXTS), key=False)
    gap = draw(st.sampled_from(["", " ", "\n ", " # ]}\n"]))
    if kind == "list":
        items = draw(st.lists(values(depth - 1), max_size=3))
        return "[" + ",".join(gap + item + gap for item in items) + gap + "]"
    names = draw(st.lists(NAMES, max_size=3, unique=True))
    pairs = [
        f"{spelled(draw, name, key=True)} = {draw(values(depth - 1))}" for name in names
    ]
    return "{" + ", ".join(pairs) + "}"


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Valid TOML: lines that tomli would refuse are left out."""
    text = ""
    for _ in range(draw(st.integers(1, 8))):
        name = draw(st.lists(NAMES | st.sampled_from("pq"), min_size=1, max_size=3))
        dot = draw(st.sampled_from([".", " . "]))
        dotted = dot.join(spelled(draw, part, key=True) for part in name)
        lines = [f"[{dotted}]", f"[[{dotted}]]", f"[[ {dotted} ]] # [", "", "# x = 1"]
        pair = f"{dotted} = {draw(values())}"
        line = draw(st.sampled_from([*lines, pair, pair, pair]))
        longer = f"{text}{line}\n"
        try:
            tomli.loads(longer)
        except tomli.TOMLDecodeError:
            continue
        text = longer
    return text.replace("\n", draw(st.sampled_from(["\n", "\n", "\r\n"])))


@settings(max_examples=250, deadline=None)
@given(documents())
def test_every_leaf_of_a_generated_document(text: str) -> None:
    assert_all_found(text)
