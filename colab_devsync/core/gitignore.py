"""gitignore patterns: what one line means, and which of many decides about a path.

Follows git's own matching (dir.c, wildmatch.c) quirk by quirk; the tests compare with
`git check-ignore`. Candidates are judged one level at a time, by a caller that knows
that no parent is ignored, so a pattern never has to match what is below a folder.
Pure functions and frozen values; any thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

_SPECIAL = re.compile(r"[*?\[\\]")
_NEVER = "(?!)"

# ASCII only and without "/", which no bracket matches.
_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": " \\t-\\r",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


@dataclass(frozen=True)
class Pattern:
    """One line. `glob` has neither "!", nor the slashes that only carry meaning."""

    glob: str
    negated: bool = False
    dir_only: bool = False
    anchored: bool = False  # matches the path from the base, not just the name

    @property
    def literal(self) -> bool:
        return _SPECIAL.search(self.glob) is None

    @property
    def suffix(self) -> str | None:
        """`.pt` of `*.pt`; None for anything less simple."""
        tail = self.glob[1:]
        simple = self.glob[:1] == "*" and tail and not _SPECIAL.search(tail)
        return tail if simple and not self.anchored else None

    @property
    def regex(self) -> str:
        """For `fullmatch` of a name or (anchored) a path below the base."""
        return translate(self.glob, paths=self.anchored)


def parse(line: str) -> Pattern | None:
    """The pattern of a line; None for comments, blanks and what cannot match."""
    if line.startswith("#"):
        return None
    line = _trimmed(line)
    negated = line.startswith("!")
    glob = line[1:] if negated else line
    dir_only = glob.endswith("/")
    glob = glob[:-1] if dir_only else glob
    anchored = "/" in glob
    glob = glob[1:] if glob.startswith("/") else glob
    return Pattern(glob, negated, dir_only, anchored) if glob else None


def parse_file(text: str) -> tuple[Pattern, ...]:
    """The patterns of a `.gitignore` file, in its order."""
    lines = (
        line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")
    )
    return tuple(pattern for pattern in map(parse, lines) if pattern is not None)


def translate(glob: str, *, paths: bool) -> str:
    """A regular expression; one that never matches where git discards the pattern.

    With `paths`, "**" between slashes spans folders.
    """
    special = _SPECIAL.search(glob)
    # git compares the literal head first and matches the rest by itself, so that "**"
    # right after it counts as if it followed a slash: "a/b**/c" spans folders.
    head = special.start() if special else len(glob)
    out, at = [re.escape(glob[:head])], head
    while at < len(glob):
        char = glob[at]
        if char == "*":
            left = at == head or glob[at - 1] == "/"
            at, piece = _star(glob, at, spans=paths and left)
        elif char == "[":
            at, piece = _bracket(glob, at)
        elif char == "?":
            at, piece = at + 1, "[^/]"
        elif char == "\\":
            if at + 1 == len(glob):
                return _NEVER
            at, piece = at + 2, re.escape(glob[at + 1])
        else:
            at, piece = at + 1, re.escape(char)
        if piece == _NEVER:
            return _NEVER
        out.append(piece)
    return "".join(out)


def _star(glob: str, start: int, *, spans: bool) -> tuple[int, str]:
    """One or more "*" at `start`: where they end, and what they match."""
    end = start
    while glob[end : end + 1] == "*":
        end += 1
    rest = glob[end : end + 2]
    bounded = rest[:1] in ("", "/") or rest == "\\/"
    if end - start < 2 or not spans or not bounded:
        return end, "[^/]*"
    return (end + 1, "(?:.*/)?") if rest[:1] == "/" else (end, ".*")


def _bracket(glob: str, start: int) -> tuple[int, str]:
    """The set at `start`: where it ends, and what it matches."""
    at = start + 1
    negated = glob[at : at + 1] in ("!", "^") and at < len(glob)
    at += negated
    members: list[str] = []
    previous = ""  # the low end, should a range follow
    first = True
    while first or glob[at : at + 1] != "]":
        first = False
        found = _member(glob, at, previous)
        if found is None:
            return at, _NEVER
        at, member, previous = found
        members.append(member)
    inside = "".join(members)
    if negated:
        return at + 1, f"[^/{inside}]"
    return at + 1, f"(?!/)[{inside}]" if inside else "[^\\s\\S]"


def _member(glob: str, at: int, previous: str) -> tuple[int, str, str] | None:
    """One member of a set: its end, its regex, and what a "-" after it would start.

    None when the set is malformed.
    """
    char = glob[at : at + 1]
    if not char:
        return None
    named = re.compile(r"\[:([^\]]*):\]").match(glob, at)
    if named is not None:
        members = _CLASSES.get(named[1])
        return None if members is None else (named.end(), members, "")
    if char == "[" and glob[at + 1 : at + 2] == ":" and "]" not in glob[at + 2 :]:
        return None
    ends_range = previous and char == "-" and glob[at + 1 : at + 2] not in ("", "]")
    at += 1
    if ends_range:
        char, at = glob[at], at + 1
    if char == "\\":
        char, at = glob[at : at + 1], at + 1
        if not char:
            return None
    if not ends_range:
        return at, re.escape(char), char
    backwards = char < previous  # matches nothing new; Python would call it an error
    return at, "" if backwards else f"-{re.escape(char)}", ""


def _trimmed(line: str) -> str:
    """`line` without trailing spaces, unless a backslash keeps the first of them."""
    kept = at = 0
    while at < len(line):
        if line[at] == "\\":
            if at + 1 == len(line):
                return line
            at += 1
            kept = at + 1
        elif line[at] != " ":
            kept = at + 1
        at += 1
    return line[:kept]


class PatternList:
    """Patterns of one file or list; the last that matches decides.

    Neighbours that say the same are merged into sets, suffixes and one regular
    expression, so that thirty lines cost about as much as one.
    """

    __slots__ = ("_runs",)

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        runs: list[list[Pattern]] = []
        for pattern in patterns:
            if runs and runs[-1][0].negated == pattern.negated:
                runs[-1].append(pattern)
            else:
                runs.append([pattern])
        self._runs = [(not run[0].negated, _Run(run)) for run in reversed(runs)]

    def __bool__(self) -> bool:
        return bool(self._runs)

    def match(self, path: str, name: str, is_dir: bool) -> bool | None:
        """True: matched; False: matched by a "!" line; None: not mentioned.

        `path` is relative to the folder the patterns belong to, `name` its last part.
        """
        for verdict, run in self._runs:
            if run.any.match(path, name) or (is_dir and run.dirs.match(path, name)):
                return verdict
        return None


class _Run:
    """Neighbouring patterns that are all "!" or all not."""

    __slots__ = ("any", "dirs")

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self.any = _Matcher([one for one in patterns if not one.dir_only])
        self.dirs = _Matcher([one for one in patterns if one.dir_only])


class _Matcher:
    """Whether any of some patterns matches: cheap tests before regular expressions."""

    __slots__ = ("_name_regex", "_names", "_path_regex", "_paths", "_suffixes")

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        plain = [one for one in patterns if one.literal]
        self._names = frozenset(one.glob for one in plain if not one.anchored)
        self._paths = frozenset(one.glob for one in plain if one.anchored)
        self._suffixes = tuple(one.suffix for one in patterns if one.suffix)
        rest = [one for one in patterns if not one.literal and not one.suffix]
        self._name_regex = _any_of([one.regex for one in rest if not one.anchored])
        self._path_regex = _any_of([one.regex for one in rest if one.anchored])

    def match(self, path: str, name: str) -> bool:
        return (
            name in self._names
            or (bool(self._suffixes) and name.endswith(self._suffixes))
            or path in self._paths
            or (self._name_regex is not None and bool(self._name_regex(name)))
            or (self._path_regex is not None and bool(self._path_regex(path)))
        )


def _any_of(regexes: Sequence[str]) -> Callable[[str], object] | None:
    usable = [regex for regex in regexes if regex != _NEVER]
    return re.compile("(?s:" + "|".join(usable) + ")").fullmatch if usable else None
