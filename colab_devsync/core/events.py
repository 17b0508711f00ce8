"""What the engine tells the world: frozen values, the only thing front ends see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .failures import Failure
from .pulls import PullInfo
from .runs import ForwardInfo, RunInfo
from .ssh_access import SshAccess

LinkState = Literal["offline", "connecting", "online", "lost", "blocked"]
Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class VmInfo:
    """The machine at the other end, as its agent reported it. Sizes in bytes."""

    host: str
    user: str
    python: str
    boot_id: str
    marker: str
    root: str
    gpu: str | None = None
    ram_total: int | None = None
    disk_free: int | None = None
    disk_total: int | None = None
    uptime_s: float | None = None
    transfer: str = ""  # how bulk data travels: "direct-tcpip x8", "exec x4"


@dataclass(frozen=True)
class Problem:
    """Something about one path (or the mirror) that a person should know."""

    path: str  # "/"-separated, relative to the project; "" = the whole mirror
    message: str  # what and where
    hint: str = ""  # the next step
    severity: Severity = "warning"


def with_path(path: str, message: str) -> str:
    """A problem's message for a list of several, where each names its file once."""
    return message if message.startswith(f"{path}:") else f"{path}: {message}"


@dataclass(frozen=True)
class Conflict:
    """A path that changed on both sides. Hashes are hex; None = absent."""

    path: str
    local_hash: str | None
    remote_hash: str | None
    since: float  # unix time
    remote_copy: str | None = None  # absolute local path of the saved remote version


@dataclass(frozen=True)
class Status:
    """A snapshot of one session."""

    folder: str
    name: str
    link: LinkState = "offline"
    target: str = ""  # "root@host:port", for people
    profile: str | None = None
    rtt_ms: float | None = None
    pending: int = 0
    files: int = 0
    conflicts: int = 0
    vm: VmInfo | None = None
    message: str | None = None
    problems: tuple[Problem, ...] = ()
    runs: tuple[RunInfo, ...] = ()  # that run, and that ended since we are online
    forwards: tuple[ForwardInfo, ...] = ()
    pulls: tuple[PullInfo, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The body of `colabDevsync/status` and of `status --json`."""
        body = asdict(self)
        body["rttMs"] = body.pop("rtt_ms")
        body["runs"] = [run.as_json() for run in self.runs]
        body["forwards"] = [forward.as_json() for forward in self.forwards]
        body["pulls"] = [pull.as_json() for pull in self.pulls]
        return {key: value for key, value in body.items() if value is not None}


@dataclass(frozen=True)
class Progress:
    """How far a long operation is. Totals are 0 while unknown."""

    message: str
    files: int = 0
    files_total: int = 0
    bytes: int = 0
    bytes_total: int = 0

    @property
    def percent(self) -> int | None:
        if self.bytes_total:
            return min(100, 100 * self.bytes // self.bytes_total)
        return None


@dataclass(frozen=True)
class SyncResult:
    """What a sync did (or, with check, would do)."""

    files: int
    bytes: int
    deleted: int
    conflicts: int
    seconds: float
    paths: tuple[str, ...] = ()  # with check: what differs
    deletions: tuple[str, ...] = ()  # with check: which of these the VM would lose


# --- events -----------------------------------------------------------------------


@dataclass(frozen=True)
class StatusChanged:
    status: Status


@dataclass(frozen=True)
class Mirrored:
    """One save, acknowledged by the VM. `bytes` = what went over the wire."""

    path: str
    bytes: int
    ms: float


@dataclass(frozen=True)
class ConflictsChanged:
    conflicts: tuple[Conflict, ...]


@dataclass(frozen=True)
class ProblemsChanged:
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class RunChanged:
    """A run began, ended, or was lost with its VM."""

    run: RunInfo


@dataclass(frozen=True)
class FailuresChanged:
    """Where the newest run failed so far; none when another one begins."""

    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class ModulesChanged:
    """Something was installed on the VM: what was missing may be there now."""


@dataclass(frozen=True)
class SshReady:
    """The VM's SSH server is at a local port; told when anything about it changed."""

    access: SshAccess


@dataclass(frozen=True)
class FilePulled:
    """A file of a pull rule is here, whole. `bytes`: its size."""

    rule: str
    path: str
    bytes: int


@dataclass(frozen=True)
class PullsChanged:
    pulls: tuple[PullInfo, ...]


@dataclass(frozen=True)
class PullsInDanger:
    """Files wait on a VM that has not been reached for a while."""

    message: str


Event = (
    StatusChanged
    | Mirrored
    | ConflictsChanged
    | ProblemsChanged
    | RunChanged
    | FailuresChanged
    | ModulesChanged
    | SshReady
    | FilePulled
    | PullsChanged
    | PullsInDanger
)
Emit = Callable[[Event], None]
OnProgress = Callable[[Progress], None]


# --- questions --------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """Asked before anything that can't be undone. No answer = `safe`."""

    kind: Literal["host-key", "mass-delete", "new-root", "overwrite", "setup"]
    text: str
    choices: tuple[str, ...]
    safe: str


Ask = Callable[[Question], str]
"""Blocks the calling engine or link thread until answered; returns a choice."""
