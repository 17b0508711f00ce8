"""What is wrong with a configuration, as values. Pure; any thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import ConfigError


@dataclass(frozen=True)
class ConfigProblem:
    """One mistake and where it is.

    Lines and columns count from 0; columns count characters (code points).
    """

    line: int
    column: int
    end_line: int
    end_column: int
    key: str  # dotted; "" = the file as a whole
    message: str
    expected: str = ""
    nearest: str | None = None  # a known key or value that was perhaps meant

    def text(self, source: str) -> str:
        """One line for people, positions counted from 1 as editors show them."""
        where = f"{source}:{self.line + 1}:{self.column + 1}: "
        parts = [f"{self.key}: {self.message}" if self.key else self.message]
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.nearest is not None:
            parts.append(f'did you mean "{self.nearest}"?')
        return where + "; ".join(parts)


class InvalidConfig(ConfigError):
    """The configuration has mistakes; the message lists them all, one per line."""

    def __init__(
        self, problems: Sequence[ConfigProblem], *, source: str, hint: str = ""
    ) -> None:
        super().__init__("\n".join(problem.text(source) for problem in problems), hint)
        self.problems = tuple(problems)

    @property
    def code(self) -> str:
        # Machines know the documented tree; this class only carries more.
        return ConfigError.__name__
