"""What is said about a key beside its type: sentence, example, bounds, format.

Owns what a well-formed name, path, host or size is; one pattern serves our validation
and the JSON Schema. Pure functions and constants; any thread may use them.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
_BINARY_UNITS = {"KI": 1 << 10, "MI": 1 << 20, "GI": 1 << 30, "TI": 1 << 40}
MAX_PORT = 65535
MAX_SIZE = (1 << 63) - 1  # what SQLite and the wire can hold

# No path component may be "..": nothing leaves the folder it is meant for.
_NO_PARENT = r"(?!(.*/)?\.\.(/|$))"
_TEXT = r"[^\x00-\x1f\x7f]"
_PATH = r"[^\x00-\x1f\x7f\\]"


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Format:
    """How a value must look, and what it becomes.

    `expected` completes "expected …". `pattern` must match the whole string; it is
    written so that Python, ECMAScript and Rust's fancy-regex agree on it.
    """

    expected: str
    pattern: str
    parse: Callable[[Any], Any] = _same

    def accepts(self, text: str) -> bool:
        return re.fullmatch(self.pattern, text) is not None


@dataclass(frozen=True)
class Key:
    """What a field's annotation and default do not say about a key."""

    doc: str
    example: str  # as TOML
    default: str = ""  # in words, when the default is computed
    format: Format | None = None  # of the value, or of each element
    names: Format | None = None  # of the keys of a mapping
    minimum: float | None = None
    maximum: float | None = None
    providers: tuple[str, ...] = ()  # the only ones that read it; () = all


def parse_size(value: int | str) -> int:
    """Bytes in `100`, `"100MB"` (decimal) or `"1.5 GiB"` (binary).

    ValueError when it is none of them.
    """
    if isinstance(value, int):
        return value
    found = re.fullmatch(SIZE.pattern, value)
    if found is None:
        raise ValueError(value)
    number, unit = found[1], (found[2] or "").upper()
    factor = _BINARY_UNITS.get(unit) or _UNITS[unit]
    whole, _, fraction = number.partition(".")
    # Integers only: a float would lose bytes above 2**53.
    return int(whole + fraction) * factor // int("1" + "0" * len(fraction))


def clean_path(path: str) -> str:
    """`path` without doubled, leading-dot or trailing slashes; "." if empty."""
    cleaned = posixpath.normpath(path)
    return "/" + cleaned.lstrip("/") if cleaned.startswith("/") else cleaned


NAME = Format(
    'letters, digits, ".", "_" and "-", starting with a letter, digit or "_"',
    r"^[A-Za-z0-9_][A-Za-z0-9._\-]{0,63}$",
)
TEXT = Format("a line of text", rf"^{_TEXT}+$")
WORD = Format(
    'text without spaces that does not start with "-"', r"^(?!-)[^\s\x00-\x1f\x7f]+$"
)
HOST = Format(
    "a host name or an IP address, without a port",
    r"^([A-Za-z0-9_][A-Za-z0-9._\-]*|(?=[^:]*:[^:]*:)[0-9A-Fa-f:.]{2,45}"
    r"(%[A-Za-z0-9._\-]+)?)$",
)
RELAY = Format(
    'an SSH server, as in "me@vps.example.com:22"',
    r"^([^\s@:\-][^\s@:]*@)?([A-Za-z0-9_][A-Za-z0-9._\-]*|\[[0-9A-Fa-f:.]+\])"
    r"(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]"
    r"|6553[0-5]))?$",
)
HOST_KEY = Format(
    'a fingerprint, as in "SHA256:" followed by 43 characters '
    "(`ssh-keygen -lf` shows it)",
    r"^SHA256:[A-Za-z0-9+/]{43}=?$",
)
VARIABLE = Format("the name of an environment variable", r"^[A-Za-z_][A-Za-z0-9_]*$")
MODULE = Format(
    'a dotted module name, as in "pkg.train"', r"^[^\W\d]\w*(\.[^\W\d]\w*)*$"
)
ARGUMENT = Format("text without NUL characters", r"^[^\x00]*$")
PATTERN = Format(
    'a gitignore pattern, as in "*.ckpt" or "data/" '
    '(start with "\\\\#" to mean a real "#")',
    r"^(?![#])(?!\s*$)(?!!?/*$)(?!(.*[^\\])?(\\\\)*\\$)[^\x00\r\n]+$",
)
REMOTE_ROOT = Format(
    'an absolute path below "/", without ".."',
    rf"^(?=/){_NO_PARENT}(?!/[./]*$){_PATH}+$",
    clean_path,
)
PROJECT_PATH = Format(
    'a path relative to the project, with "/" and without ".."',
    rf"^(?!/)(?![A-Za-z]:)(?!~){_NO_PARENT}{_PATH}+$",
    clean_path,
)
REMOTE_PATH = Format(
    'a path with "/" and without "..", relative to remote.root or absolute',
    rf"^(?![A-Za-z]:)(?!~){_NO_PARENT}{_PATH}+$",
    clean_path,
)
SIZE = Format(
    'a size: bytes, or text as in "100MB" or "1.5 GiB"',
    r"^\s*([0-9]{1,19}(?:\.[0-9]{1,9})?)\s*([kKmMgGtT][iI]?)?[bB]?\s*$",
    parse_size,
)
