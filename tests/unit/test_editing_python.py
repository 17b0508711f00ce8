"""Where a Python file starts its program, and which modules it needs."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colab_devsync.core.editing.distributions import distribution_of
from colab_devsync.core.editing.guards import guard_lines
from colab_devsync.core.editing.imports import imports_of


def modules(source: str) -> list[str]:
    return [one.module for one in imports_of(source)]


@pytest.mark.parametrize(
    "line",
    [
        'if __name__ == "__main__":',
        "if __name__ == '__main__':",
        "if __name__=='__main__': main()",
        'if "__main__" == __name__:',
        'if (__name__ == "__main__"):',
        'if __name__ == "__main__":  # start',
        'if __name__ == "__main__"',  # half-typed
    ],
)
def test_a_guard_is_found_however_it_is_written(line: str) -> None:
    assert guard_lines(f"import os\n\n{line}\n    main()\n") == (2,)


@pytest.mark.parametrize(
    "source",
    [
        '"""\nif __name__ == "__main__":\n"""\n',
        '# if __name__ == "__main__":\n',
        'def f():\n    if __name__ == "__main__":\n        pass\n',
        "x = '''\nif __name__ == \"__main__\":\n'''\n",
        'if __name__ == "__mp_main__":\n',
    ],
)
def test_what_only_looks_like_a_guard_is_none(source: str) -> None:
    assert guard_lines(source) == ()


def test_a_half_written_file_has_its_guard() -> None:
    assert guard_lines('x = (\ny = """open\nif __name__ == "__main__":\n') == (2,)
    assert guard_lines('print("no end\nif __name__ == "__main__":\n') == (1,)


def test_imports_are_found_where_they_stand() -> None:
    source = "import os.path as p, cv2\nfrom PIL.Image import open\nimport \\\n  yaml\n"
    found = imports_of(source)
    lines = source.splitlines()
    assert [one.module for one in found] == ["os", "cv2", "PIL", "yaml"]
    assert all(lines[o.line][o.column : o.end] == o.module for o in found)


def test_columns_count_characters() -> None:
    (found,) = imports_of('x = "äöü😀"; import numpy\n')
    assert (found.column, found.end) == (19, 24)
    # A client that sends the mark counts it.
    (found,) = imports_of("\ufeffimport numpy\n")
    assert (found.line, found.column, found.end) == (0, 8, 13)


def test_a_long_line_of_quotes_is_no_danger() -> None:
    assert guard_lines("'\\" * 200_000 + "x\nif __name__ == '__main__':\n") == (1,)


def test_a_form_feed_is_no_line_of_python() -> None:
    found = imports_of("\x0c\nimport os\n\x0c\nif True:\n    import numpy\n")
    assert [(one.module, one.line, one.column) for one in found] == [
        ("os", 1, 7),
        ("numpy", 4, 11),
    ]


def test_imports_that_can_be_done_without_are_left_out() -> None:
    source = """
from __future__ import annotations
from . import sibling
from typing import TYPE_CHECKING
import typing, sys, contextlib
try:
    import a1
except ImportError:
    import a2
try:
    import a3
except (KeyError, ModuleNotFoundError):
    a3 = None
try:
    import b1
except ValueError:
    pass
if TYPE_CHECKING:
    import a4
if typing.TYPE_CHECKING:
    import a5
else:
    import b2
if sys.platform == "win32":
    import a6
with contextlib.suppress(ImportError):
    import a7
def f():
    import b3
    class C:
        import b4
for _ in ():
    import b5
match 1:
    case 1:
        import b6
"""
    found = [one for one in modules(source) if one[0] in "ab" and len(one) == 2]
    assert found == ["b1", "b2", "b3", "b4", "b5", "b6"]


def test_a_half_written_file_says_what_stands_at_its_margin() -> None:
    source = (
        "import cv2, yaml as y\nfrom torch.nn import Module\ntry:\n  import a\nx = (\n"
    )
    found = imports_of(source)
    lines = source.splitlines()
    assert [one.module for one in found] == ["cv2", "yaml", "torch"]
    assert all(lines[o.line][o.column : o.end] == o.module for o in found)


def test_what_installs_a_module() -> None:
    names = ("cv2", "PIL", "sklearn", "yaml", "numpy")
    wanted = ["opencv-python", "Pillow", "scikit-learn", "PyYAML", "numpy"]
    assert [distribution_of(name) for name in names] == wanted
    assert distribution_of("apex") is None  # somebody else's package


@given(st.text(alphabet="import froms.,\n \\('\"#x", max_size=60))
def test_no_source_is_too_broken(source: str) -> None:
    lines = source.split("\n")
    for one in imports_of(source):
        assert 0 <= one.line < len(lines)
    guard_lines(source)


def test_our_own_sources_are_read_like_python_reads_them() -> None:
    source = ast.__file__
    with open(source, encoding="utf-8") as file:
        found = modules(file.read())
    assert {"sys", "re", "contextlib", "enum"} & set(found)
