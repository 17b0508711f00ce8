"""Where a Python file, half-written or not, says what it does as a program. Pure."""

from __future__ import annotations

import re

# In one pass, so that a guard in a text or a comment is not one. An unclosed triple
# quote of a half-written file counts as an empty text, another as a text to its line's
# end: were it looked at again from each character, a long line would take minutes.
_WORDS = re.compile(
    r"""^(?P<guard>if[ \t]*\(?[ \t]*
         (?:__name__[ \t]*==[ \t]*(?:"__main__"|'__main__')
         |  (?:"__main__"|'__main__')[ \t]*==[ \t]*__name__)
         [ \t]*\)?[ \t]*(?::|$))
      | \"\"\"(?:\\.|[^\\])*?\"\"\"
      | '''(?:\\.|[^\\])*?'''
      | "(?:\\.|[^"\\\n])*"?
      | '(?:\\.|[^'\\\n])*'?
      | \#[^\n]*
    """,
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)


def guard_lines(source: str) -> tuple[int, ...]:
    """The lines, from 0, of `if __name__ == "__main__":`."""
    if "__main__" not in source:
        return ()
    found = (one.start() for one in _WORDS.finditer(source) if one["guard"])
    return tuple(source.count("\n", 0, at) for at in found)
