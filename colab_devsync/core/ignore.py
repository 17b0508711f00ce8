"""Which paths of a project stay out of the mirror.

Later lines win: names that are never worth mirroring < `.gitignore` files, deeper ones
over shallower < `exclude` < `include`. As in git, what is below an ignored folder is
ignored; unlike git, `include` reaches into it: the folder is then walked, and only what
is included is mirrored.

What an `include` pattern reaches
- `data/labels.csv`, `data/**/*.csv`: that file, those files, whatever excludes `data`.
- `*.csv`: every such file, in folders excluded by `.gitignore` or `exclude` too, but
  not in `.venv`, `node_modules` and their like; those must be named: `.venv/x/*.csv`.
- `data/`: the folder with all below it, but for caches and editors' temporary files.
- `!*.tmp`: takes back what an earlier pattern included.
- Nothing includes `.git` or `.colab-devsync`.

Pure, no I/O: the caller brings the texts of `.gitignore` files. Not thread-safe: one
instance belongs to one thread.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence

from .gitignore import Pattern, PatternList, parse, parse_file, translate

NEVER = frozenset({".git", ".colab-devsync"})
"""Not even `include` brings these in."""

JUNK = frozenset(
    {
        *(".hg", ".svn", ".bzr", ".jj", "CVS"),
        *("__pycache__", ".venv", "venv", "node_modules", "__pypackages__"),
        *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis"),
        *(".tox", ".nox", ".eggs", ".ipynb_checkpoints"),
        *(".idea", ".vscode", ".DS_Store", "Thumbs.db"),
        "4913",  # Vim's test whether it may write here
    }
)
"""Names excluded by default: of no use on the VM, or made anew there."""

_JUNK_SUFFIXES = ("~", ".swp", ".swo", ".swx", "___jb_tmp___", "___jb_old___")
_JUNK_PREFIXES = (".#", ".~lock.", ".goutputstream-", ".nfs")


_Chain = tuple[tuple[int, PatternList], ...]  # length to cut off, patterns


class _State(enum.IntEnum):
    """What holds for the entries of a folder that nothing says more about."""

    OPEN = 0  # mirrored, unless a rule says otherwise
    INCLUDED = 1  # mirrored, whatever `.gitignore` and `exclude` say
    RESCUED = 2  # the same, and not mirrored if `include` takes it back
    PASSAGE = 3  # not mirrored; walked because something below is included
    BURIED = 4  # the same inside JUNK: only patterns that name the way count
    IGNORED = 5  # not mirrored, not walked


class IgnoreRules:
    """The rules of one project. Paths are "/"-separated and relative to its root."""

    def __init__(
        self, *, gitignore: bool, exclude: Sequence[str], include: Sequence[str]
    ) -> None:
        self._gitignore = gitignore
        self._exclude = _compiled(exclude)
        patterns = [one for one in map(parse, include) if one is not None]
        named = [one for one in patterns if one.negated or _names_the_way(one)]
        self._include = PatternList(patterns)
        self._include_named = PatternList(named)
        self._reach = [_Reach(one) for one in patterns if not one.negated]
        self._reach_named = [_Reach(one) for one in named if not one.negated]
        self._files: dict[str, PatternList] = {}
        self._states: dict[str, _State] = {"": _State.OPEN}
        self._chains: dict[str, _Chain] = {}

    def set_gitignore(self, directory: str, text: str | None) -> None:
        """`directory` ("" = the root) has this `.gitignore` now; None = none."""
        if not self._gitignore:
            return
        self._files.pop(directory, None)
        patterns = PatternList(parse_file(text or ""))
        if patterns:
            self._files[directory] = patterns
        self._states = {"": _State.OPEN}
        self._chains = {}

    def ignores(self, path: str, is_dir: bool) -> bool:
        """Whether `path` stays out, be it for its own sake or for a folder's above.

        False for a folder means: walk it. The root is never ignored.
        """
        if not path:
            return False
        parent, _, name = path.rpartition("/")
        return self.ignores_entry(parent, name, is_dir)

    def ignores_entry(self, parent: str, name: str, is_dir: bool) -> bool:
        """The same for an entry of `parent`; fast during a walk from the top."""
        state = self._states.get(parent)
        if state is None:
            state = self._state(parent)
        if state is _State.IGNORED:
            return True
        decided = self._decide(state, parent, name, is_dir)
        if is_dir:
            self._states[f"{parent}/{name}" if parent else name] = decided
        return decided is _State.IGNORED

    def _state(self, directory: str) -> _State:
        """Judges the folders on the way to `directory`, from the top."""
        path, state = "", _State.OPEN
        for name in directory.split("/"):
            parent, path = path, f"{path}/{name}" if path else name
            known = self._states.get(path)
            if known is None:
                known = self._states[path] = self._decide(state, parent, name, True)
            state = known
            if state is _State.IGNORED:
                return state
        return state

    def _decide(self, above: _State, parent: str, name: str, is_dir: bool) -> _State:
        if name in NEVER:
            return _State.IGNORED
        path = f"{parent}/{name}" if parent else name
        is_open = above < _State.RESCUED and not self._excludes(
            parent, path, name, is_dir
        )
        if not self._include:
            return _State.OPEN if is_open else _State.IGNORED
        if self._includes(above, path, name, is_dir):
            return _State.INCLUDED if is_open else _State.RESCUED
        if is_open:
            return _State.OPEN
        if is_dir:
            return self._way_through(path, above is _State.BURIED or _is_junk(name))
        return _State.IGNORED

    def _includes(self, above: _State, path: str, name: str, is_dir: bool) -> bool:
        patterns = self._include_named if above is _State.BURIED else self._include
        found = patterns.match(path, name, is_dir)
        if found is None:
            inherited = above in (_State.INCLUDED, _State.RESCUED)
            return inherited and not _is_junk(name)
        return found

    def _excludes(self, parent: str, path: str, name: str, is_dir: bool) -> bool:
        """What everything but `include` says about an entry of a mirrored folder."""
        excluded = self._exclude.match(path, name, is_dir) if self._exclude else None
        if excluded is not None:
            return excluded
        chain = self._chains.get(parent)
        if chain is None:
            chain = self._chain(parent)
        for skip, patterns in chain:
            found = patterns.match(path[skip:], name, is_dir)
            if found is not None:
                return found
        return _is_junk(name)

    def _chain(self, directory: str) -> _Chain:
        """The `.gitignore` files over the entries of `directory`, deepest first."""
        missing = []
        while directory and directory not in self._chains:
            missing.append(directory)
            directory = directory.rpartition("/")[0]
        chain = self._chains.get(directory)
        if chain is None:
            root = self._files.get("")
            chain = self._chains[""] = () if root is None else ((0, root),)
        for directory in reversed(missing):
            patterns = self._files.get(directory)
            if patterns is not None:
                chain = ((len(directory) + 1, patterns), *chain)
            self._chains[directory] = chain
        return chain

    def _way_through(self, path: str, buried: bool) -> _State:
        ways = self._reach_named if buried else self._reach
        parts = path.split("/")
        if any(way.leads_below(parts) for way in ways):
            return _State.BURIED if buried else _State.PASSAGE
        return _State.IGNORED


class _Reach:
    """Where an `include` pattern may match, to know which folders to walk for it."""

    def __init__(self, pattern: Pattern) -> None:
        self._segments: list[re.Pattern[str] | None] = []  # None = any way from here
        for segment in pattern.glob.split("/") if pattern.anchored else ["**"]:
            if "**" in segment:
                self._segments.append(None)
                break
            regex = translate(segment, paths=False)
            self._segments.append(re.compile(f"(?s:{regex})"))

    def leads_below(self, parts: Sequence[str]) -> bool:
        """Whether it could match something below the folder `parts`."""
        for part, segment in zip(parts, self._segments, strict=False):
            if segment is None:
                return True
            if not segment.fullmatch(part):
                return False
        return len(parts) < len(self._segments)


def _names_the_way(pattern: Pattern) -> bool:
    return pattern.anchored and not pattern.glob.startswith("**")


def _compiled(lines: Sequence[str]) -> PatternList:
    return PatternList(one for one in map(parse, lines) if one is not None)


def _is_junk(name: str) -> bool:
    return (
        name in JUNK
        or name.endswith(_JUNK_SUFFIXES)
        or name.startswith(_JUNK_PREFIXES)
        or (name[0] == "#" == name[-1])
    )
