"""Turns the text of `.colabremote.toml` into a `Config`, or into all its problems.

Owns the order of things: syntax, then each key alone, then what keys mean together,
for the base and for every profile. Pure: reading the file is the caller's. Any thread.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import tomli

from . import rules
from .positions import NOWHERE, Path, Span, locate
from .problems import ConfigProblem, InvalidConfig
from .read import Mistake, Reader, Values, by_nearness, closest
from .schema import CONFIG_NAME, Config


class _Document:
    """A parsed file: the values of base and profiles, and everything wrong with it."""

    def __init__(self, text: str) -> None:
        self.base: Values = {}
        self.profiles: dict[str, Values] = {}
        self._own: list[ConfigProblem] = []
        self._places = NOWHERE
        self._is_toml = False
        self._read(text)
        self._base_mistakes = self._together(None)

    def problems(self, profile: str | None) -> tuple[ConfigProblem, ...]:
        """Everything wrong when `profile` is the one in use.

        A gap in the base that the profile closes is none. What a profile itself breaks
        is always reported, in use or not.
        """
        base, in_use = self._base_mistakes, self._together(profile)
        found = list(self._own)
        found += [self._problem(one, None) for one in base if one in in_use]
        for name in self.profiles:
            theirs = (one for one in self._together(name) if one not in base)
            found += [self._problem(one, name) for one in theirs]
        if profile is not None and self.lacks(profile):
            found.append(self._no_such(profile))
        return tuple(sorted(found, key=lambda one: (one.line, one.column)))

    def fits(self, profile: str | None) -> bool:
        """Whether base and profile go together (each key alone aside)."""
        return not self._together(profile)

    def lacks(self, profile: str) -> bool:
        """Whether it can be read and defines no such profile."""
        return self._is_toml and profile not in self.profiles

    def completed(self, profile: str | None, folder_name: str) -> Values:
        over = self.profiles.get(profile, {}) if profile is not None else {}
        return rules.complete(rules.overlay(self.base, over), folder_name)

    def _read(self, text: str) -> None:
        try:
            raw = tomli.loads(text)
            self._places = locate(text)
        except tomli.TOMLDecodeError as error:
            self._own.append(_syntax_problem(text, error))
        except (RecursionError, ValueError) as error:
            # Too deep, or a number too long for Python: tomli gives no place.
            self._own.append(
                ConfigProblem(0, 0, 0, 0, "", f"cannot be read: {error}", "plain TOML")
            )
        else:
            self._is_toml = True
            reader = Reader()
            self.base, self.profiles = reader.document(raw)
            self._own += [self._problem(one, None) for one in reader.mistakes]

    def _together(self, profile: str | None) -> list[Mistake]:
        return list(rules.check(self.completed(profile, "")))

    def _problem(self, mistake: Mistake, profile: str | None) -> ConfigProblem:
        path = self._origin(mistake.path, profile)
        places = self._places
        span = places.key(path) if mistake.part == "key" else places.value(path)
        prefix = path[: len(path) - len(mistake.path)]
        key = _dotted((*prefix, *(mistake.name or mistake.path)))
        message = mistake.message
        if profile is not None and not prefix:
            message += f' with profile "{profile}"'
        return _at(span, key, message, mistake.expected, mistake.nearest)

    def _origin(self, path: Path, profile: str | None) -> Path:
        """Where `path` of the merged values really stands."""
        if profile is None:
            return path
        inside = ("profiles", profile, *path)
        # A key is the profile's if it gives that key, a list if it gives the list.
        table = self.profiles[profile].get(str(path[0]))
        given = path[1] in table if isinstance(table, dict) else table is not None
        return inside if given else path

    def _no_such(self, profile: str) -> ConfigProblem:
        names = by_nearness(profile, self.profiles)
        known = ", ".join(f'"{name}"' for name in names) or "none is defined"
        return _at(
            self._places.key(("profiles",)),
            "profiles",
            f'there is no profile "{profile}"',
            f"one of {known}" if self.profiles else f"no profile: {known}",
            closest(profile, self.profiles),
        )


def load_config(
    text: str,
    *,
    folder_name: str,
    profile: str | None = None,
    source: str = CONFIG_NAME,
) -> Config:
    """The configuration in `text`, with `profile` over it and every default filled in.

    `folder_name` gives the default name, `source` names the file in messages.
    InvalidConfig (a ConfigError) lists everything that is wrong.
    """
    document = _Document(text)
    profile = profile or None
    problems = document.problems(profile)
    if problems:
        raise InvalidConfig(problems, source=source, hint=_hint(document, profile))
    return rules.build(document.completed(profile, folder_name), profile)


def check_config(text: str) -> tuple[ConfigProblem, ...]:
    """Everything wrong with `text`, in its order; never raises.

    A base that only its profiles make complete is right: `--profile` will be given.
    """
    document = _Document(text)
    fitting = (name for name in document.profiles if document.fits(name))
    return document.problems(next(fitting, None))


def _hint(document: _Document, profile: str | None) -> str:
    fitting = [name for name in document.profiles if document.fits(name)]
    if profile is None and fitting and not document.fits(None):
        return f"choose a profile: --profile {' or '.join(fitting)}"
    if profile is not None and document.lacks(profile):
        names = by_nearness(profile, document.profiles)
        named = f"--profile {' or '.join(names)}" if names else "no profile"
        return f"choose {named}, or define [profiles.{_dotted((profile,))}]"
    return "correct the file; docs/reference/configuration.md has every key"


def _syntax_problem(text: str, error: tomli.TOMLDecodeError) -> ConfigProblem:
    line, column = error.lineno - 1, error.colno - 1
    # tomli counts in text whose "\r\n" became "\n"; lines and columns stay the same.
    length = len(text.split("\n")[line].rstrip("\r"))
    column = min(column, length)
    span = Span(line, column, line, min(column + 1, length))
    message = error.msg[:1].lower() + error.msg[1:]
    return _at(span, "", f"is no TOML: {message}", "", None)


def _at(
    span: Span, key: str, message: str, expected: str, nearest: str | None
) -> ConfigProblem:
    return ConfigProblem(
        span.line,
        span.column,
        span.end_line,
        span.end_column,
        key,
        message,
        expected,
        nearest,
    )


def _dotted(path: Iterable[str | int]) -> str:
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = re.fullmatch(r"[A-Za-z0-9_-]+", part)
            name = part if bare else json.dumps(part, ensure_ascii=False)
            text += f".{name}" if text else name
    return text
