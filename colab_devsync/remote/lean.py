"""Python source without what only people read, line for line. Pure.

The agent travels with every connection, and a quarter of it are comments and
docstrings. Lines stay where they are, so that a traceback from the VM names the right
ones. Made for our own style: a text in triple quotes that begins a line is a docstring.
"""

from __future__ import annotations

_QUOTES = '"""'


def lean(source: str) -> str:
    """The same program."""
    lines = []
    is_docstring = is_text = False  # inside one that goes on
    for line in source.splitlines():
        text = line.lstrip()
        ends = text.count(_QUOTES) % 2 == 1
        if is_docstring:
            lines.append("")
            is_docstring = not ends
        elif is_text:
            lines.append(line)
            is_text = not ends
        elif text.startswith(_QUOTES):
            # An empty text in its place: it may be all there is in a body.
            lines.append(line[: len(line) - len(text)] + '""')
            is_docstring = ends
        else:
            lines.append("" if text.startswith("#") else line)
            is_text = ends
    return "\n".join(lines) + "\n"
