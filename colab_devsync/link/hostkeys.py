"""Which host keys we trust: pins in a JSON file, and the decision about a key.

A key is never added by itself: a person says yes once per endpoint, or the
configuration names the fingerprint. Any thread; the file is replaced atomically.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ..core.events import Ask, Question
from ..errors import ConfigError, HostKeyChanged, HostKeyUnknown

Verdict = Literal["trusted", "unknown", "changed", "contradicts-config"]


@dataclass(frozen=True)
class HostKey:
    """A server's public key: its algorithm and `SHA256:…` fingerprint."""

    kind: str
    fingerprint: str


def judge(offered: HostKey, pinned: HostKey | None, configured: str | None) -> Verdict:
    """The configured fingerprint wins over the pin; nothing known is not trusted."""
    if configured is not None:
        same = _bare(configured) == _bare(offered.fingerprint)
        return "trusted" if same else "contradicts-config"
    if pinned is None:
        return "unknown"
    return "trusted" if pinned == offered else "changed"


class Pins:
    """The pinned keys of one project. A missing file is no pins."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, profile: str | None, endpoint: str) -> HostKey | None:
        entry = self._read().get(_name(profile, endpoint))
        return None if entry is None else HostKey(**entry)

    def put(self, profile: str | None, endpoint: str, key: HostKey) -> None:
        pins = self._read()
        pins[_name(profile, endpoint)] = asdict(key)
        self._write(pins)

    def forget(self, profile: str | None, spared: str | None = None) -> int:
        """Removes the pins of one profile but that of the endpoint `spared`; returns
        how many there were."""
        pins, mine = self._read(), _name(profile, "")
        kept = None if spared is None else _name(profile, spared)
        gone = [name for name in pins if name.startswith(mine) and name != kept]
        for name in gone:
            del pins[name]
        if gone:
            self._write(pins)
        return len(gone)

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            text = self._path.read_text("utf-8")
        except FileNotFoundError:
            return {}
        try:
            pins: dict[str, dict[str, str]] = json.loads(text)["pins"]
            for entry in pins.values():
                HostKey(**entry)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(
                f"the file of pinned host keys {self._path} is damaged",
                "delete it; the next connect asks for the host key again",
            ) from error
        return pins

    def _write(self, pins: dict[str, dict[str, str]]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"version": 1, "pins": pins}, indent=2, sort_keys=True)
        handle, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=".pins-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise


Machine = Literal["VM", "relay"]
_IF_REPLACED: Mapping[Machine, str] = {
    "VM": "if you replaced the VM: paste the line that its notebook shows, or "
    "`colab-devsync connect --forget-host-key`",
    "relay": "if you set the relay up anew: `colab-devsync relay check --host-key "
    "SHA256:...`, with what `ssh-keygen -lf` shows there",
}
_DEMANDS: Mapping[Machine, str] = {"VM": "`host_key` in [link]", "relay": "--host-key"}
_IF_OTHER: Mapping[Machine, str] = {
    "VM": "if you replaced the VM: set `host_key` to the new fingerprint, or paste the "
    "line that its notebook shows now",
    "relay": "`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` there shows the right "
    "one",
}
_IF_UNKNOWN: Mapping[Machine, str] = {
    "VM": "on the VM, then answer yes or set `host_key` in [link]",
    "relay": "on the relay, then answer yes; or name it: `colab-devsync relay check "
    "--host-key SHA256:...`",
}


@dataclass(frozen=True)
class Trust:
    """What is known about one endpoint, and whom to ask about the rest."""

    pins: Pins
    profile: str | None
    endpoint: str  # "203.0.113.7:22": names the machine, not the user
    configured: str | None = None
    remark: str = ""  # what else a person should know before the answer
    known: tuple[HostKey, ...] = ()  # that other programs trust, if nothing is pinned
    what: Machine = "VM"

    def check(self, offered: HostKey, ask: Ask) -> None:
        """Returns if the key is trusted. HostKeyUnknown, HostKeyChanged."""
        pinned = self.pins.get(self.profile, self.endpoint) or self._known(offered)
        verdict = judge(offered, pinned, self.configured)
        if verdict == "trusted" and pinned != offered:
            # It came with a connect string: this is the VM from now on.
            self.pins.put(self.profile, self.endpoint, offered)
        elif verdict == "unknown":
            self._ask(offered, ask)
        elif verdict == "changed":
            assert pinned is not None
            raise HostKeyChanged(
                f"THE HOST KEY OF {self.endpoint} HAS CHANGED: it was {_say(pinned)}, "
                f"now it is {_say(offered)}. Either the {self.what} was replaced or "
                "somebody is in between; nothing was sent",
                _IF_REPLACED[self.what],
            )
        elif verdict == "contradicts-config":
            raise HostKeyChanged(
                f"{self.endpoint} has the host key {_say(offered)}, but "
                f"{_DEMANDS[self.what]} demands {self.configured}; nothing was sent",
                _IF_OTHER[self.what],
            )

    def _known(self, offered: HostKey) -> HostKey | None:
        """Of the offered kind: a server has one key of each."""
        same = [one for one in self.known if one.kind == offered.kind]
        return offered if offered in same else next(iter(same), None)

    def _ask(self, offered: HostKey, ask: Ask) -> None:
        question = Question(
            kind="host-key",
            text=f"{self.endpoint} is not known yet. Its host key is {_say(offered)}. "
            f"{self.remark} Is this your {self.what}?".replace("  ", " "),
            choices=("yes", "no"),
            safe="no",
        )
        if ask(question) != "yes":
            raise HostKeyUnknown(
                f"the host key of {self.endpoint} was not accepted: {_say(offered)}",
                "compare it with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` "
                f"{_IF_UNKNOWN[self.what]}",
            )
        self.pins.put(self.profile, self.endpoint, offered)


def pins_of(state_dir: Path) -> Pins:
    """The pins of the project whose state lives in `state_dir`."""
    return Pins(state_dir / "host_keys.json")


def _name(profile: str | None, endpoint: str) -> str:
    return f"{profile or 'default'} {endpoint}"


def _bare(fingerprint: str) -> str:
    """Without the base64 padding that some tools print."""
    return fingerprint.strip().rstrip("=")


def _say(key: HostKey) -> str:
    return f"{key.fingerprint} ({key.kind})"
