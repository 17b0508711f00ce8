"""The sessions that Google's `colab` command knows, read from its file.

We only read: the command itself makes, refreshes and removes sessions. No network.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ...errors import ConfigError, VmAbsent

SESSIONS_VARIABLE = "COLAB_DEVSYNC_COLAB_SESSIONS"
_LOOKS_S = (0.05, 0.2, 0.0)
_NEW = "`colab-devsync connect --new --gpu T4` makes one (it uses compute units)"


@dataclass(frozen=True)
class ColabSession:
    """One runtime. `token` opens it for an hour or so; never shown or logged."""

    name: str
    endpoint: str  # Colab's own name of the VM: another one is another VM
    url: str
    token: str = field(repr=False)
    expires_at: float | None  # unix time; None: not known
    accelerator: str = "NONE"

    @property
    def hardware(self) -> str:
        return "CPU" if self.accelerator == "NONE" else self.accelerator

    def expires_within(self, seconds: float, now: float) -> bool:
        return self.expires_at is None or self.expires_at - now <= seconds


def sessions_file() -> Path:
    """`COLAB_DEVSYNC_COLAB_SESSIONS` overrides."""
    chosen = os.environ.get(SESSIONS_VARIABLE)
    home = Path("~/.config/colab-cli/sessions.json")
    return Path(chosen) if chosen else home.expanduser()


def read_sessions(
    path: Path, pause: Callable[[float], None] = time.sleep
) -> Mapping[str, ColabSession]:
    """By name; none when there is no file. ConfigError: it is not what it should be."""
    for pause_s in _LOOKS_S:
        try:
            return _parse(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ConfigError(
                f"cannot read Colab's list of sessions {path}: {error.strerror}",
                "check its owner and permissions",
            ) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if not pause_s:
                raise ConfigError(
                    f"Colab's list of sessions {path} has a form that is not known",
                    "update colab-devsync; `colab sessions` shows whether the file is "
                    "whole",
                ) from error
            pause(pause_s)  # the command writes it in place: it may be half done
    raise AssertionError


def _parse(text: str) -> Mapping[str, ColabSession]:
    entries = json.loads(text) if text.strip() else {}
    return {name: _session(name, entry) for name, entry in entries.items()}


def choose(
    sessions: Mapping[str, ColabSession], wanted: str | None
) -> ColabSession | None:
    """The session named (or whose endpoint is) `wanted`; without a name the only one.
    None: not there."""
    if wanted is None:
        return next(iter(sessions.values())) if len(sessions) == 1 else None
    by_endpoint = {one.endpoint: one for one in sessions.values()}
    return sessions.get(wanted) or by_endpoint.get(wanted)


def not_there(sessions: Mapping[str, ColabSession], wanted: str | None) -> VmAbsent:
    """Why `choose` found none, with what there is."""
    known = ", ".join(f"{one.name} ({one.hardware})" for one in sessions.values())
    if not sessions:
        what = f"no Colab session {wanted!r}" if wanted else "no Colab session"
        return VmAbsent(f"there is {what}: Colab has none at all", _NEW)
    if wanted is None:
        return VmAbsent(
            f"there are {len(sessions)} Colab sessions: {known}",
            'name one, as in `session = "train"` in [link]',
        )
    return VmAbsent(
        f"there is no Colab session {wanted!r}; the known ones are: {known}",
        f"correct `session` in [link]; {_NEW}",
    )


def _session(name: str, entry: Mapping[str, Any]) -> ColabSession:
    for key in ("url", "token", "endpoint"):
        if not isinstance(entry[key], str):
            raise TypeError(key)
    return ColabSession(
        name=name,
        endpoint=entry["endpoint"],
        url=entry["url"],
        token=entry["token"],
        expires_at=_unix_time(entry.get("token_expires_at")),
        accelerator=str(entry.get("accelerator") or "NONE"),
    )


def _unix_time(text: str | None) -> float | None:
    """Of "2026-10-01T12:00:00.123456Z"; Python 3.10 knows no "Z"."""
    if not text:
        return None
    moment = datetime.fromisoformat(text.removesuffix("Z"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()
