"""The rules that keep the code's shape: sizes, layers, threads, honest tests.

Reads sources as text and syntax trees; runs import-linter on the real contracts.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "colab_devsync"
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
# The harness may poll where nothing tells it; a test may not.
HARNESS = ROOT / "tests" / "support"
BENCH = sorted((ROOT / "bench").rglob("*.py"))

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_POSITIONAL = 5

# In the standard library of some newer Python, absent from 3.8's.
NEWER_THAN_38 = {"annotationlib", "compression", "graphlib", "tomllib", "zoneinfo"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def functions_of(path: Path) -> Iterator[Function]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, Function):
            yield node


def called_name(call: ast.Call) -> str:
    """`threading.Thread(...)` and `Thread(...)` are both "Thread"."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def imported_roots(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def start_of(value: ast.expr | None) -> str:
    """The literal text a string expression starts with."""
    if isinstance(value, ast.JoinedStr) and value.values:
        value = value.values[0]
    if isinstance(value, ast.BinOp):
        value = value.left
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return value.value
    return ""


def thread_calls() -> Iterator[tuple[Path, ast.Call]]:
    for path in MODULES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call) and called_name(node) == "Thread":
                yield path, node


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((one.value for one in call.keywords if one.arg == name), None)


def test_modules_stay_readable_in_one_sitting() -> None:
    long = {
        name_of(path): lines
        for path in [*MODULES, *BENCH]
        if (lines := path.read_text(encoding="utf-8").count("\n")) > MAX_MODULE_LINES
    }
    assert long == {}


def test_functions_stay_short() -> None:
    long = [
        f"{name_of(path)}:{one.lineno} {one.name}: {one.end_lineno - one.lineno + 1}"
        for path in [*MODULES, *BENCH]
        for one in functions_of(path)
        if one.end_lineno and one.end_lineno - one.lineno >= MAX_FUNCTION_LINES
    ]
    assert long == []


def test_calls_with_many_arguments_name_them() -> None:
    many = []
    for path in MODULES:
        for one in functions_of(path):
            names = [a.arg for a in (*one.args.posonlyargs, *one.args.args)]
            if len([n for n in names if n not in ("self", "cls")]) > MAX_POSITIONAL:
                many.append(f"{name_of(path)}:{one.lineno} {one.name}")
    assert many == []


def test_every_module_says_what_it_owns() -> None:
    silent = [
        name_of(path)
        for path in MODULES
        if tree_of(path).body and not ast.get_docstring(tree_of(path))
    ]
    assert silent == []


def test_no_drawer_modules() -> None:
    drawers = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
    assert [name_of(path) for path in MODULES if path.stem in drawers] == []


def test_layers_hold() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as run; run()",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("folder", "optional"),
    [
        ("agent", {"debugpy"}),
        ("bootstrap", {"google", "IPython", "ngrok"}),
    ],
)
def test_what_runs_on_the_vm_needs_only_the_standard_library(
    folder: str, optional: set[str]
) -> None:
    """`optional`: asked for inside a function, where it may be missing."""
    allowed = (set(sys.stdlib_module_names) | optional) - NEWER_THAN_38
    foreign = {
        f"{name_of(path)}: {root}"
        for path in sorted((PACKAGE / folder).rglob("*.py"))
        for root in imported_roots(tree_of(path))
        if root not in allowed
    }
    assert foreign == set()


def test_threads_are_ours_by_name_and_never_hold_up_the_exit() -> None:
    wrong = []
    for path, call in thread_calls():
        name, daemon = keyword(call, "name"), keyword(call, "daemon")
        # A name that is handed in is looked at where it is written.
        named = isinstance(name, ast.Name) or start_of(name).startswith("devsync-")
        if not (named and isinstance(daemon, ast.Constant) and daemon.value is True):
            wrong.append(f"{name_of(path)}:{call.lineno}")
    assert wrong == []


def thread_names() -> set[str]:
    """All our names for threads; of a computed one, its literal start."""
    nodes = (node for path in MODULES for node in ast.walk(tree_of(path)))
    starts = {start_of(node) for node in nodes if isinstance(node, ast.expr)}
    names = {start.rstrip("-") for start in starts if start.startswith("devsync-")}
    return names - {"devsync"}


def test_every_thread_stands_in_the_table_of_threads() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    names = thread_names()
    assert names, "the search itself is broken"
    assert sorted(name for name in names if f"`{name}" not in page) == []


def test_no_pool_whose_threads_block_the_exit() -> None:
    pools = [
        f"{name_of(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and called_name(node) == "ThreadPoolExecutor"
    ]
    assert pools == []


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_tests_use_no_mocks_and_no_sleeps(path: Path) -> None:
    tree = tree_of(path)
    assert "mock" not in set(imported_roots(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert not (node.module == "unittest" and node.names[0].name == "mock")
            assert node.module != "unittest.mock", f"line {node.lineno}"
        if HARNESS in path.parents:
            continue
        if isinstance(node, ast.Call) and called_name(node) == "sleep":
            # sleep(0) gives way, it does not wait.
            argument = node.args[0] if node.args else None
            assert isinstance(argument, ast.Constant), f"line {node.lineno}"
            assert argument.value == 0, f"line {node.lineno}"
        if isinstance(node, ast.Assert):
            assert not isinstance(node.test, ast.Constant), f"line {node.lineno}"
