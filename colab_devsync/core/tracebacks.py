"""Reads Python tracebacks out of a stream of text, as they are printed.

Owns the grammar: frames, chains, exception groups, syntax errors, colours, and what
other lines in between look like. Pure and incremental: text comes in pieces cut
anywhere, what has been found so far comes out. Keeps little, however much it is fed.
Used by one thread at a time.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, replace
from typing import Final

MAX_TRACEBACKS: Final = 20  # the newest ones
_MAX_FRAMES = 200  # the innermost ones
_MAX_PARTS = 50
_MAX_LINE = 4000
_MAX_TEXT_LINES = 10
_MAX_NOISE = 50  # foreign lines inside one traceback
_MAX_SOURCES = 64

_HEADER = "Traceback (most recent call last):"
_GROUP = "+ Exception Group Traceback (most recent call last):"
_LINKS = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
_SYNTAX = ("SyntaxError", "IndentationError", "TabError")
_HINTS = ('File "', "File \x1b", "Traceback (most", "above exception")

_FRAME = re.compile(r' +File "(?P<path>.+?)", line (?P<line>\d+)(?:, in (?P<name>.*))?')
# What a class can be called; lower case only with its module, or as an error.
_TEXT = re.compile(r"(?P<type>(?:(?:\w+|<locals>)\.)*[^\W\d]\w*)(?::(?: .*)?)?")
_LOWER = re.compile(r"[^A-Z]*(?:error|exception|warning|exit|interrupt)")
_LEVELS = {"DEBUG", "INFO", "NOTE", "WARN", "WARNING", "ERROR", "CRITICAL", "FATAL"}
_CARETS = re.compile(r"[ ~^]*")
_MARGIN = re.compile(r"(?P<indent> *)(?:\| ?|\+ )(?P<rest>.*)")
_RULE = re.compile(r"(?P<indent> *(?:\+-)?)\+-{4,}(?: (?P<title>\d+|\.\.\.) -{4,})?-*")
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z_])"
)
_RANK = re.compile(r"\[(?:rank)?\d+\]: ?")  # torchrun marks each process's lines


@dataclass(frozen=True)
class Frame:
    """One call. `path` as Python printed it; `line` counts from 1."""

    path: str
    line: int
    name: str = ""  # of the function; a syntax error has none
    code: str = ""


@dataclass(frozen=True)
class Traceback:
    """One exception that was printed. `frames`: the failing one comes last."""

    text: str  # "ValueError: bad shape"
    frames: tuple[Frame, ...] = ()
    earlier: tuple[Traceback, ...] = ()  # its causes and contexts, oldest first
    parts: tuple[Traceback, ...] = ()  # of an exception group

    @property
    def type(self) -> str:
        return self.text.partition(":")[0].rpartition(".")[2].strip()


class TracebackParser:
    """Feed it a program's stderr; `found` is what it has seen so far."""

    def __init__(self) -> None:
        self._rest = ""  # a line without its end
        self._sources: dict[str, _Source] = {"": _Source()}

    @property
    def found(self) -> tuple[Traceback, ...]:
        """Oldest first. The last one may still grow: a chain, a group."""
        every = [one for source in self._sources.values() for one in source.found]
        return tuple(every[-MAX_TRACEBACKS:])

    def feed(self, text: str) -> bool:
        """True if that changed `found`."""
        text = self._rest + text
        if not self._is_busy() and not any(hint in text for hint in _HINTS):
            self._rest = _newest(text.rpartition("\n")[2])
            return False
        before = self.found
        *lines, rest = text.split("\n")
        for line in lines:
            self._take(line)
        self._rest = _newest(rest)
        return self.found != before

    def end(self) -> bool:
        """The program has ended; a last line may lack its end."""
        before = self.found
        if self._rest:
            self._take(self._rest)
            self._rest = ""
        for source in self._sources.values():
            source.end()
        return self.found != before

    def _is_busy(self) -> bool:
        return any(source.is_busy for source in self._sources.values())

    def _take(self, raw: str) -> None:
        # A progress bar writes over its line; only what came last is to be seen.
        whole = raw.rstrip("\r")
        line = whole.rpartition("\r")[2]
        is_header = line.endswith(_HEADER)  # behind whatever stood there already
        line = line[-_MAX_LINE:] if is_header else line[:_MAX_LINE]
        line = _ESCAPES.sub("", line)
        rank = _RANK.match(line)
        prefix = rank[0].strip() if rank is not None else ""
        if prefix not in self._sources:
            if len(self._sources) >= _MAX_SOURCES:
                return
            self._sources[prefix] = _Source()
        line = line[rank.end() :] if rank is not None else line
        self._sources[prefix].take(line.rstrip(), is_clean="\r" not in whole)


def _newest(rest: str) -> str:
    """Of an unfinished line, as much as its end can need."""
    tail = rest.rpartition("\r")[2] if not rest.endswith("\r") else rest
    return tail if len(tail) < _MAX_LINE else tail[:_MAX_LINE] + tail[-len(_GROUP) :]


class _Source:
    """The lines of one process: a stack of blocks, one per depth of nested groups."""

    def __init__(self) -> None:
        self._blocks = [_Block()]
        self._in_group = False
        self._is_closed = False  # a rule ended the group, or one inside it

    @property
    def found(self) -> tuple[Traceback, ...]:
        return self._blocks[0].found

    @property
    def is_busy(self) -> bool:
        return self._in_group or self._blocks[0].is_busy

    def take(self, line: str, *, is_clean: bool) -> None:
        if line.endswith(_GROUP):
            self.end()
            self._in_group = True
            self._blocks[0].begin()
        elif not self._in_group:
            self._blocks[0].take(line, is_clean=is_clean)
        elif (rule := _RULE.fullmatch(line)) is not None:
            self._rule(len(rule["indent"]) // 2 - 1, rule["title"])
        elif (margin := _MARGIN.fullmatch(line)) is not None:
            self._inside(len(margin["indent"]) // 2 - 1, margin["rest"])
        elif self._is_closed or line in _LINKS or line.endswith(_HEADER):
            self.end()
            self._blocks[0].take(line, is_clean=is_clean)

    def end(self) -> None:
        """What is open belongs to the exception it stands in."""
        self._fold(0)
        self._in_group = self._is_closed = False

    def _rule(self, depth: int, title: str | None) -> None:
        """`+---- 2 ----` begins a part, `+-------` ends the last one."""
        self._fold(max(0, depth - 1))
        self._is_closed = title is None
        if title is not None and len(self._blocks) == depth:
            self._blocks.append(_Block(is_part=True))

    def _inside(self, depth: int, line: str) -> None:
        self._is_closed = False
        self._fold(depth)
        if depth == len(self._blocks) - 1:
            self._blocks[depth].take(line, is_clean=True)

    def _fold(self, depth: int) -> None:
        while len(self._blocks) > depth + 1:
            block = self._blocks.pop()
            self._blocks[-1].adopt(block.found)


class _Block:
    """Exceptions at one depth: a chain of them, or one after the other."""

    def __init__(self, *, is_part: bool = False) -> None:
        self._is_part = is_part
        self._closed: tuple[Traceback, ...] = ()
        self._live: Traceback | None = None
        # What was before the newest, in case its last line was somebody else's.
        self._before: tuple[tuple[Traceback, ...], Traceback | None] = ((), None)
        self._frames: deque[Frame] = deque(maxlen=_MAX_FRAMES)
        self._state = "text" if is_part else "idle"
        self._is_linked = False
        self._only_syntax = False
        self._noise = 0

    @property
    def found(self) -> tuple[Traceback, ...]:
        if self._live is None or self._live in self._closed:
            return self._closed
        return (*self._closed, self._live)

    @property
    def is_busy(self) -> bool:
        return self._state != "idle"

    def begin(self) -> None:
        """A header was printed."""
        self._frames.clear()
        self._state, self._noise, self._only_syntax = "frames", 0, False

    def adopt(self, parts: tuple[Traceback, ...]) -> None:
        """Parts of the group that was printed last."""
        if self._live is not None:
            every = (*self._live.parts, *parts)[:_MAX_PARTS]
            self._live = replace(self._live, parts=every)

    def take(self, line: str, *, is_clean: bool) -> None:
        if line.endswith(_HEADER):
            self.begin()
        elif line in _LINKS:
            self._is_linked, self._state = self._live is not None, "idle"
        elif (frame := _FRAME.fullmatch(line)) is not None:
            self._add(Frame(frame["path"], int(frame["line"]), frame["name"] or ""))
        elif self._state == "frames":
            self._in_frames(line)
        elif self._state == "text" and self._live is None:  # it has no traceback
            self._end_at(line)
        elif self._state == "text":
            self._go_on(line, is_clean=is_clean)

    def _add(self, frame: Frame) -> None:
        if self._state == "text" and self._frames:
            # The line that looked like the exception was somebody else's.
            (self._closed, self._live), self._state = self._before, "frames"
        elif self._state != "frames":
            if frame.name:
                return
            self.begin()  # perhaps a syntax error in the script itself
            self._only_syntax = True
        self._frames.append(frame)

    def _in_frames(self, line: str) -> None:
        if line.startswith("  "):
            code = line.strip()
            is_first = self._frames and not self._frames[-1].code
            if is_first and not _CARETS.fullmatch(code):
                self._frames.append(replace(self._frames.pop(), code=code))
        elif _is_text(line) and (not self._only_syntax or _is_syntax(line)):
            self._end_at(line)
        else:
            self._noise += 1
            if self._noise > _MAX_NOISE or self._only_syntax:
                self._state = "idle"

    def _end_at(self, text: str) -> None:
        if not _is_text(text):
            return
        self._before = (self._closed, self._live)
        earlier: tuple[Traceback, ...] = ()
        if self._is_linked and self._live is not None:
            earlier = (*self._live.earlier, replace(self._live, earlier=()))
            earlier = earlier[-MAX_TRACEBACKS:]
        elif self._live is not None and self._live not in self._closed:
            self._closed = (*self._closed, self._live)[-MAX_TRACEBACKS:]
        self._live = Traceback(text, tuple(self._frames), earlier)
        self._is_linked, self._state = False, "text"

    def _go_on(self, line: str, *, is_clean: bool) -> None:
        """A message of several lines. Only the indented ones are surely its."""
        assert self._live is not None
        is_more = bool(line) and (self._is_part or line[0] in " \t")
        is_short = self._live.text.count("\n") < _MAX_TEXT_LINES
        if not (is_more and is_clean):
            self._state = "idle"
        elif is_short:
            self._live = replace(self._live, text=f"{self._live.text}\n{line}")


def _is_text(line: str) -> bool:
    """Whether this can be how an exception is printed."""
    found = _TEXT.fullmatch(line)
    if found is None or found["type"] in _LEVELS:
        return False
    module, _, name = found["type"].rpartition(".")
    return bool(module) or name[0] != name[0].lower() or bool(_LOWER.match(name))


def _is_syntax(line: str) -> bool:
    return line.partition(":")[0] in _SYNTAX
