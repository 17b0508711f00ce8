"""Which modules a Python file needs. Pure.

An import that the program can do without is not needed: one in a `try` that catches
ImportError, under `if TYPE_CHECKING`, or for another system.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

_CATCHES = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
_SYSTEM = {"platform", "version_info", "implementation"}
_LINE = re.compile(
    r"^(?:from[ \t]+(?P<from>[^\W\d]\w*)[\w.]*[ \t]+import\b"
    r"|import[ \t]+(?P<names>[^#;\n]+))",
    re.MULTILINE,
)
_NEWLINE = re.compile(r"\r\n|\n|\r")  # Python's lines; splitlines has more of them
_HEAD = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True)
class Import:
    """Lines and columns from 0, in characters; `end` is after the module's name."""

    module: str  # the top-level one
    line: int
    column: int
    end: int


def imports_of(source: str) -> tuple[Import, ...]:
    """What the program cannot do without, each place. Of a text that is no Python (a
    half-written one), only what stands at the left margin."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the user's code, not ours
            tree = ast.parse(source.removeprefix("\ufeff"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return tuple(_from_lines(source))
    return tuple(_from_block(tree.body, _NEWLINE.split(source)))


def _from_block(body: list[ast.stmt], lines: list[str]) -> Iterator[Import]:
    for node in body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _at(alias.name, alias.lineno, alias.col_offset, lines)
        elif isinstance(node, ast.ImportFrom):
            if not node.level and node.module:
                column = node.col_offset + len("from ")
                yield from _at(node.module, node.lineno, column, lines)
        else:
            for block in _needed_blocks(node):
                yield from _from_block(block, lines)


def _needed_blocks(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    """The blocks inside `node` that will run where the program runs."""
    if isinstance(node, ast.If):
        if not _is_special(node.test):
            yield node.body
        yield node.orelse
        return
    if isinstance(node, ast.Try) and any(map(_catches, node.handlers)):
        yield node.finalbody
        return
    if isinstance(node, (ast.With, ast.AsyncWith)) and _suppresses(node):
        return
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list):
            yield block
    for handler in getattr(node, "handlers", ()):
        yield handler.body
    for case in getattr(node, "cases", ()):
        yield case.body


def _is_special(test: ast.expr) -> bool:
    """`TYPE_CHECKING`, or a question about the system the program runs on."""
    for part in ast.walk(test):
        if isinstance(part, ast.Name) and part.id == "TYPE_CHECKING":
            return True
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            name = part.value.id, part.attr
            if part.attr == "TYPE_CHECKING" or name == ("os", "name"):
                return True
            if part.value.id == "sys" and part.attr in _SYSTEM:
                return True
            if part.value.id == "platform":
                return True
    return False


def _catches(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    parts = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(one, ast.Name) and one.id in _CATCHES for one in parts)


def _suppresses(node: ast.With | ast.AsyncWith) -> bool:
    for item in node.items:
        call = item.context_expr
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("suppress"):
            names = {one.id for one in call.args if isinstance(one, ast.Name)}
            if names & _CATCHES:
                return True
    return False


def _at(dotted: str, line: int, column: int, lines: list[str]) -> Iterator[Import]:
    """`column` counts UTF-8 bytes, as ast does; a name may stand a little later."""
    module = dotted.partition(".")[0]
    if module == "__future__":
        return
    text = lines[line - 1] if line <= len(lines) else ""
    start = len(text.encode()[:column].decode("utf-8", "ignore"))
    found = re.compile(rf"\b{re.escape(module)}\b").search(text, start)
    start = found.start() if found else min(start, len(text))
    yield Import(module, line - 1, start, start + len(module))


def _from_lines(source: str) -> Iterator[Import]:
    for found in _LINE.finditer(source):
        start = source.rfind("\n", 0, found.start()) + 1
        line = source.count("\n", 0, start)
        if found["from"]:
            yield from _simple(found["from"], line, found.start("from") - start)
            continue
        at = found.start("names") - start
        for part in found["names"].split(","):
            head = _HEAD.match(part.lstrip())
            if head:
                lead = len(part) - len(part.lstrip())
                yield from _simple(head[0], line, at + lead)
            at += len(part) + 1


def _simple(module: str, line: int, column: int) -> Iterator[Import]:
    if module != "__future__":
        yield Import(module, line, column, column + len(module))
