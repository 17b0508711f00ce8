"""The agent's sources lose their comments on the way, and nothing else."""

from __future__ import annotations

import ast
import io
import tokenize
from importlib import resources

import pytest

from colab_devsync import agent
from colab_devsync.remote.lean import lean

MODULES = sorted(
    (path for path in resources.files(agent).iterdir() if path.name.endswith(".py")),
    key=lambda path: path.name,
)


class _WithoutTexts(ast.NodeTransformer):
    """Takes out statements that are nothing but a text."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        is_text = isinstance(node.value, ast.Constant)
        return None if is_text else node


def statements(source: str) -> str:
    return ast.dump(_WithoutTexts().visit(ast.parse(source)))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_each_module_stays_the_same_program_line_for_line(path) -> None:  # type: ignore[no-untyped-def]
    source = path.read_text(encoding="utf-8")
    thin = lean(source)
    assert statements(thin) == statements(source)
    for old, new in zip(source.splitlines(), thin.splitlines(), strict=True):
        assert new.strip() in ("", '""') or new == old
    comments = [
        token.string
        for token in tokenize.generate_tokens(io.StringIO(thin).readline)
        if token.type == tokenize.COMMENT
        and thin.splitlines()[token.start[0] - 1].lstrip().startswith("#")
    ]
    assert comments == []


def test_what_looks_like_a_comment_inside_a_text_stays() -> None:
    source = 'TEXT = """\n# not a comment\n"""\n# one\n'
    assert lean(source) == 'TEXT = """\n# not a comment\n"""\n\n'


def test_a_function_of_nothing_but_words_still_has_a_body() -> None:
    source = 'def nothing() -> None:\n    """Does\n    nothing."""\n'
    namespace: dict[str, object] = {}
    exec(lean(source), namespace)
    assert callable(namespace["nothing"])
