"""Our own messages: names and shapes, declared once. docs/reference/lsp.md explains
them and editor extensions mirror them. Values only; no behaviour but error shaping.
"""

from __future__ import annotations

import logging
import traceback
from typing import Any, Final, Literal, TypedDict

from ..errors import DevsyncError

_log = logging.getLogger(__name__)

CLI_NAME: Final = "colab-devsync-cli"
"""The clientInfo.name of our command line: it connects nothing by itself."""

# server -> client notifications
STATUS: Final = "colabDevsync/status"
MIRRORED: Final = "colabDevsync/mirrored"
JOB: Final = "colabDevsync/job"
OUTPUT: Final = "colabDevsync/output"
RUN: Final = "colabDevsync/run"
PULLS: Final = "colabDevsync/pulls"
PULLED: Final = "colabDevsync/pulled"

# client -> server requests
WAIT: Final = "colabDevsync/wait"
EXEC: Final = "colabDevsync/exec"
INPUT: Final = "colabDevsync/input"
SIGNAL: Final = "colabDevsync/signal"
RESIZE: Final = "colabDevsync/resize"
DAEMON: Final = "colabDevsync/daemon"
ATTACH: Final = "colabDevsync/attach"
DETACH: Final = "colabDevsync/detach"

FAILED_CODE: Final = -32000
"""JSON-RPC code of every expected failure; `data` is an ErrorBody."""


class ErrorBody(TypedDict, total=False):
    """`code` is the name of a class in colab_devsync.errors."""

    code: str
    message: str
    hint: str
    exitCode: int
    traceback: str


class Started(TypedDict):
    """The answer of every long command."""

    job: str
    state: Literal["started"]


class JobBody(TypedDict, total=False):
    """`colabDevsync/job`, and the answer of `colabDevsync/wait`."""

    job: str
    command: str
    state: Literal["progress", "done", "failed", "cancelled"]
    message: str
    percent: int
    files: int
    filesTotal: int
    bytes: int
    bytesTotal: int
    result: dict[str, Any]
    error: ErrorBody


class MirroredBody(TypedDict):
    """One save, acknowledged by the VM."""

    folder: str
    path: str
    bytes: int
    ms: float


class PullsBody(TypedDict):
    """How the pull rules stand; see `core/pulls.py`, PullInfo.as_json."""

    folder: str
    pulls: list[dict[str, Any]]


class PulledBody(TypedDict):
    """A file of a pull rule is here, whole."""

    folder: str
    name: str
    path: str
    bytes: int


class OutputBody(TypedDict):
    """`offset` counts the bytes of this stream before `text`, which is UTF-8 decoded
    with surrogateescape: encoding it the same way gives the exact bytes."""

    run: str
    offset: int
    stream: str
    text: str


class RunOutputBody(OutputBody, total=False):
    """Of a run, whose name is unique in its project only."""

    folder: str


class RunBody(TypedDict, total=False):
    """The state of a program on the VM. `attached` is true while this client gets its
    output and false once, after the last of it. `error` says why that came early."""

    folder: str
    run: str
    state: Literal["starting", "running", "exited", "failed", "lost"]
    exitCode: int
    kind: str
    pid: int
    signal: str
    message: str
    attached: bool
    error: ErrorBody


class ExecStarted(TypedDict):
    """The answer of `colabDevsync/exec`; the job ends when the program does."""

    run: str
    job: str
    state: Literal["started"]


class DaemonBody(TypedDict):
    """The answer of `colabDevsync/daemon`."""

    pid: int
    version: str
    clients: int
    projects: list[dict[str, Any]]


def error_body(error: BaseException, *, verbose: bool = False) -> ErrorBody:
    """An error for the wire. An unexpected one is also logged with its traceback."""
    if isinstance(error, DevsyncError):
        body = ErrorBody(
            code=error.code,
            message=error.message,
            hint=error.hint,
            exitCode=error.exit_code,
        )
    else:
        _log.error("unexpected error", exc_info=error)
        body = ErrorBody(
            code="InternalError",
            message=f"Unexpected {type(error).__name__}: {error}",
            hint="This is a bug. The daemon's log has the traceback "
            "(`colab-devsync daemon status` names the file).",
            exitCode=1,
        )
    if verbose:
        lines = traceback.format_exception(type(error), error, error.__traceback__)
        body["traceback"] = "".join(lines)
    return body
