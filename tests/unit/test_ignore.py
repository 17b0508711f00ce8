"""Ignore rules: git's own answers, our order of precedence, `include`."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from colab_devsync.core.gitignore import parse, parse_file
from colab_devsync.core.ignore import JUNK, NEVER, IgnoreRules


def rules(
    gitignore: str | None = None,
    exclude: Sequence[str] = (),
    include: Sequence[str] = (),
) -> IgnoreRules:
    made = IgnoreRules(gitignore=True, exclude=exclude, include=include)
    made.set_gitignore("", gitignore)
    return made


def walked(made: IgnoreRules, files: Sequence[str]) -> set[str]:
    """Which of `files` a walk from the top finds."""
    found = set()
    for file in files:
        parts = file.split("/")
        parents = ["/".join(parts[:depth]) for depth in range(len(parts))]
        last = len(parts) - 1
        if not any(
            made.ignores_entry(parent, part, depth < last)
            for depth, (parent, part) in enumerate(zip(parents, parts, strict=True))
        ):
            found.add(file)
    assert found == {file for file in files if not made.ignores(file, False)}
    return found


# --- as git does it -------------------------------------------------------------------

NAMES = [
    "a",
    "b",
    "ab",
    "a.py",
    "b.txt",
    "foo",
    " c",
    "d ",
    "[x]",
    "q#",
    "!w",
    "-",
    "Z",
]
TOKENS = [
    *("a", "b", "ab", "foo", ".py", ".txt", "x", "q", "w", "-", " ", "\\ ", "\t"),
    *("*", "*", "**", "***", "?", "/", "/", "/", "**/", "/**", "/**/", "*.py", "a/"),
    *("[ab]", "[!a]", "[^x-z]", "[a-f]", "[]]", "[!]]", "[[]", "[\\]]", "[a-]", "[-a]"),
    *("[[:alpha:]]", "[[:x:]]", "[z-a]", "[", "]", "!", "#"),
    *("\\", "\\*", "\\\\", "\\/", "\\!", "\\#"),
]


@dataclass(frozen=True)
class Tree:
    """A git work tree of empty files, and all of its paths."""

    root: Path
    paths: dict[str, bool]  # is it a folder?

    def ignored_by_git(self) -> set[str]:
        hermetic = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(
            [
                "git",
                "-c",
                "core.ignorecase=false",
                "check-ignore",
                "--no-index",
                "-z",
                "--stdin",
            ],
            cwd=self.root,
            env={**os.environ, **hermetic},
            input="\0".join([*self.paths, ""]).encode(),
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr  # 1 = none is ignored
        return set(done.stdout.decode().split("\0")) - {""}

    def ignored_by_us(self, files: dict[str, str]) -> set[str]:
        made = IgnoreRules(gitignore=True, exclude=(), include=())
        for folder, text in files.items():
            made.set_gitignore(folder, text)
        return {
            path for path, is_dir in self.paths.items() if made.ignores(path, is_dir)
        }

    def compare(self, files: dict[str, str]) -> int:
        """Writes the `.gitignore` files, asks both, and returns how many agree."""
        places = [self.root / folder / ".gitignore" for folder in files]
        for place, text in zip(places, files.values(), strict=True):
            place.write_text(text, encoding="utf-8", newline="")
        try:
            theirs = self.ignored_by_git()
        finally:
            for place in places:
                place.unlink()
        assert self.ignored_by_us(files) == theirs, files
        return len(theirs)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    root = tmp_path_factory.mktemp("tree")
    subprocess.run(["git", "init", "-q", root], check=True, timeout=30)
    names = [name for name in NAMES if os.name != "nt" or name == name.strip()]
    chance = random.Random(7)
    paths: dict[str, bool] = {}

    def grow(folder: str, depth: int) -> None:
        for name in chance.sample(names, 6):
            path = f"{folder}/{name}" if folder else name
            paths[path] = depth < 3 and chance.random() < 0.5
            if paths[path]:
                (root / path).mkdir()
                grow(path, depth + 1)
            else:
                (root / path).touch()

    grow("", 0)
    return Tree(root, paths)


@pytest.mark.parametrize("seed", range(8))
def test_random_gitignore_files_mean_what_they_mean_to_git(
    tree: Tree, seed: int
) -> None:
    chance = random.Random(seed)
    folders = ["", *(path for path, is_dir in tree.paths.items() if is_dir)]
    ignored = 0
    for _ in range(25):
        files = {}
        for folder in chance.sample(folders, chance.choice([1, 1, 2, 3])):
            lines = [
                chance.choice(["", "", "", "!"])
                + "".join(chance.choices(TOKENS, k=chance.randrange(1, 6)))
                for _ in range(chance.randrange(1, 5))
            ]
            end = chance.choice(["\n", "\r\n"])
            files[folder] = end.join(lines) + chance.choice(["", end])
        ignored += tree.compare(files)
    assert ignored > 10  # they did say something


@pytest.mark.parametrize(
    "text",
    [
        "*\n!foo/\n!*.py\n",
        "/*\n!/a\n",
        "foo/*\n!foo/a.py\n",
        "\ufefffoo\n",
        "foo  \nb.txt\\ \n",
        "**/a.py\nfoo/**\na/**/b\n",
        "a**/b\nfoo/a**/Z\nfoo/**b\n",
        "[z-a]\n[[:digit:]\n*.txt\n",
        "!*\n#a\n\\#a\n//\n/\n!\n",
    ],
)
def test_lines_that_are_easily_misread(tree: Tree, text: str) -> None:
    tree.compare(
        {"": text, next(p for p, is_dir in tree.paths.items() if is_dir): text}
    )


def test_comments_and_blanks_are_no_patterns() -> None:
    assert parse_file("\n# x\n   \n/\r\n!\n") == ()
    assert parse("a ") == parse("a")
    assert parse("!/a/b/") != parse("a/b")


# --- our order ------------------------------------------------------------------------


def test_nothing_worth_mirroring_is_ignored_by_default() -> None:
    files = ["train.py", "pkg/__init__.py", ".env", ".github/x.yml", "data/4913.csv"]
    assert walked(rules(), files) == set(files)


@pytest.mark.parametrize(
    "path",
    [
        *(f"{name}/x" for name in sorted(NEVER | JUNK)),
        *(f"pkg/{name}" for name in sorted(NEVER | JUNK)),
        *("a.py~", ".a.py.swp", ".#a.py", "#a.py#", "4913", "a.py___jb_tmp___"),
        *("a.py___jb_old___", ".goutputstream-X1", ".nfs0001"),
    ],
)
def test_junk_is_ignored_by_default(path: str) -> None:
    assert rules().ignores(path, False)


def test_gitignore_brings_back_what_is_ignored_by_default() -> None:
    made = rules("!.vscode\n.vscode/*\n!.vscode/settings.json\n")
    assert not made.ignores(".vscode/settings.json", False)
    assert made.ignores(".vscode/launch.json", False)


def test_exclude_wins_over_gitignore_both_ways() -> None:
    made = rules("*.log\n!b.txt\n", exclude=["!keep.log", "b.txt"])
    assert made.ignores("a.log", False)
    assert not made.ignores("keep.log", False)
    assert made.ignores("b.txt", False)


def test_deeper_gitignore_files_win() -> None:
    made = rules("*.csv\n/only-top\n")
    made.set_gitignore("data", "!x.csv\n/only-here\n")
    assert made.ignores("x.csv", False)
    assert not made.ignores("data/x.csv", False)
    assert not made.ignores("data/deep/x.csv", False)
    assert not made.ignores("data/only-top", False)
    assert made.ignores("data/only-here", False)
    assert not made.ignores("only-here", False)
    assert not made.ignores("database/only-here", False)


def test_a_folder_takes_all_below_it_along() -> None:
    made = rules("data/\n!data/keep.csv\n")
    assert made.ignores("data", True)
    assert not made.ignores("data", False)  # a file of that name is another matter
    assert made.ignores("data/keep.csv", False)
    assert made.ignores("data/a/b/c", False)


def test_rules_change_while_in_use() -> None:
    made = rules("data/\n")
    assert made.ignores("data/x/y.csv", False)
    made.set_gitignore("", "*.py\n")
    assert not made.ignores("data/x/y.csv", False)
    assert made.ignores("data/x/y.py", False)
    made.set_gitignore("data/x", "!y.py\n")
    assert not made.ignores("data/x/y.py", False)
    made.set_gitignore("data/x", None)
    assert made.ignores("data/x/y.py", False)


def test_gitignore_files_can_be_switched_off() -> None:
    made = IgnoreRules(gitignore=False, exclude=["*.log"], include=())
    made.set_gitignore("", "*.csv\n")
    assert not made.ignores("a.csv", False)
    assert made.ignores("a.log", False)
    assert made.ignores(".venv", True)


def test_the_root_is_never_ignored() -> None:
    assert not rules("*\n", exclude=["*", "/"]).ignores("", True)


def test_a_very_deep_path_is_judged() -> None:
    deep = "/".join(["d"] * 3000)
    assert not rules("x\n").ignores(f"{deep}/y", False)
    assert rules("y\n", include=["z/**"]).ignores(f"{deep}/y", False)


# --- include --------------------------------------------------------------------------

FILES = [
    "train.py",
    "data/labels.csv",
    "data/notes.txt",
    "data/raw/a.csv",
    "data/raw/a.bin",
    "data/__pycache__/m.pyc",
    "logs/x.csv",
    ".venv/lib/patched.py",
    ".venv/lib/table.csv",
    ".venv/bin/python",
    ".git/config",
    ".colab-devsync/x.csv",
]


@pytest.mark.parametrize(
    ("include", "brought_in"),
    [
        ([], []),
        (["data/labels.csv"], ["data/labels.csv"]),
        (["/data/*.csv"], ["data/labels.csv"]),
        (["data/**/*.csv"], ["data/labels.csv", "data/raw/a.csv"]),
        (["*.csv"], ["data/labels.csv", "data/raw/a.csv", "logs/x.csv"]),
        (["**/a.csv"], ["data/raw/a.csv"]),
        (["raw/"], ["data/raw/a.csv", "data/raw/a.bin"]),
        (["data/raw"], ["data/raw/a.csv", "data/raw/a.bin"]),
        (["*/labels.csv", "l?gs/*"], ["data/labels.csv", "logs/x.csv"]),
        (["data/", "!*.txt", "!raw/"], ["data/labels.csv"]),
        (["data/", "data/__pycache__/"], [*FILES[1:6]]),
        (["data/"], [*FILES[1:5]]),
        ([".venv/lib/patched.py"], [".venv/lib/patched.py"]),
        ([".venv/**/*.py", "*.csv"], [FILES[1], FILES[3], FILES[6], FILES[7]]),
        ([".venv/lib/"], [".venv/lib/patched.py", ".venv/lib/table.csv"]),
        ([".venv"], [*FILES[7:10]]),
        ([".git/config", ".git/", ".colab-devsync/*.csv"], []),
    ],
)
def test_include_reaches_into_excluded_folders(
    include: list[str], brought_in: list[str]
) -> None:
    made = rules("logs/\n", exclude=["data/"], include=include)
    assert walked(made, FILES) == {"train.py", *brought_in}


def test_only_folders_on_the_way_to_something_included_are_walked() -> None:
    made = rules("logs/\n", exclude=["data/"], include=["data/raw/*.csv"])
    assert not made.ignores("data", True)
    assert not made.ignores("data/raw", True)
    assert made.ignores("data/other", True)
    assert made.ignores("data/raw/deeper", True)
    assert made.ignores("logs", True)
    assert made.ignores(".venv", True)


def test_what_include_takes_back_is_judged_as_if_never_included() -> None:
    made = rules("*.log\n", include=["src/", "!*.tmp", "!*.log"])
    assert not made.ignores("src/a.py", False)
    assert not made.ignores("src/a.tmp", False)
    assert made.ignores("src/a.log", False)


def test_included_folders_beat_patterns_for_what_is_in_them() -> None:
    made = rules("*.csv\n", exclude=["*.ckpt"], include=["data/"])
    assert not made.ignores("data/x.csv", False)
    assert not made.ignores("data/deep/x.ckpt", False)
    assert made.ignores("x.csv", False)
    assert made.ignores("data/.x.swp", False)
