"""What a command is: the keys it takes, and what answers it. Values only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .arguments import Key
from .server import DevsyncServer

Arguments = dict[str, Any]
Answer = Any

FOLDER = {"folder": Key(str)}


@dataclass(frozen=True)
class Command:
    """`run` answers at once; `wait` is for the few that need a moment."""

    keys: Mapping[str, Key] = field(default_factory=lambda: FOLDER)
    run: Callable[[DevsyncServer, Arguments], Answer] | None = None
    wait: Callable[[DevsyncServer, Arguments], Awaitable[Answer]] | None = None
