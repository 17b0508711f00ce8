"""The steps of `doctor` on the VM: agent, GPU, disk, clock, forwards. They log in."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.events import with_path
from ..errors import (
    AgentError,
    ConnectFailed,
    DevsyncError,
    ForwardRefused,
    LinkError,
)
from .check import Check, failed

if TYPE_CHECKING:
    from ..core.events import Status, VmInfo
    from ..engine.session import Session
    from ..link.base import Connection

CONNECT_TIMEOUT_S = 60.0
_ACCESS_S = 10.0
_SKEW_S = 5.0  # what file times and logs may differ by before it confuses people
_NOBODY = 1  # a port of the VM on which nothing listens
_STEPS_OF_ERROR = {
    "ConfigError": "link",
    "ConnectFailed": "reach",
    "VmAbsent": "vm",
    "SlotTaken": "vm",
    "ForwardRefused": "relay",
    "HostKeyUnknown": "host key",
    "HostKeyChanged": "host key",
    "AuthFailed": "login",
    "RemoteRefused": "folder",
}


def on_the_vm(session: Session) -> Iterator[Check]:
    """From the host key on; connects."""
    try:
        status = session.connect(is_patient=False).result(CONNECT_TIMEOUT_S)
    except DevsyncError as error:
        yield failed(_step(error), error)
        return
    except (TimeoutError, FutureTimeout):
        slow = ConnectFailed(
            f"The VM did not let us in within {CONNECT_TIMEOUT_S:.0f} s.",
            "The daemon's log says how far it came.",
        )
        yield failed("login", slow)
        return
    yield Check("host key", True, "the VM's host key is the one you accepted")
    yield Check("login", True, f"logged in to {status.target}")
    try:
        uplink = session.access.uplink(_ACCESS_S)
        machine = uplink.client.request({"op": "machine"}).meta()
        yield from _machine(replace(uplink.hello.vm, **machine))
        yield _clock(uplink.connection)
        yield _forwards(uplink.connection)
    except (LinkError, AgentError) as error:
        yield failed("connection", error)
        return
    yield from _mirror(session.status())


def _machine(vm: VmInfo) -> Iterator[Check]:
    yield Check("agent", True, f"Python {vm.python}, project folder {vm.root}")
    yield Check(
        "gpu",
        None if vm.gpu is None else True,
        vm.gpu or "no GPU seen",
        "" if vm.gpu else "On Colab: Runtime > Change runtime type, if you need one.",
    )
    if vm.disk_free is not None:
        free = vm.disk_free / 1e9
        yield Check(
            "disk",
            free > 1,
            f"{free:.1f} GB free on the VM",
            "" if free > 1 else "Delete old checkpoints and caches there.",
        )


def _clock(connection: Connection) -> Check:
    """The VM's clock against ours, as well as one question can tell."""
    before = time.time()
    stream = connection.exec("date +%s")
    said = stream.read(100)
    after = time.time()
    stream.close()
    try:
        there = int(said) + 0.5
    except ValueError:
        return Check("clock", None, "the VM did not say what time it is")
    off = there - (before + after) / 2
    doubt = (after - before) / 2 + 0.5
    if abs(off) <= _SKEW_S + doubt:
        return Check("clock", True, "the VM's clock agrees with this machine's")
    which = "ahead of" if off > 0 else "behind"
    return Check(
        "clock",
        None,
        f"the VM's clock is {abs(off):.0f} s {which} this machine's",
        "Times in logs and TensorBoard differ by that; mirroring does not mind.",
    )


def _forwards(connection: Connection) -> Check:
    """Asks for a port where nobody listens: how it is refused tells."""
    try:
        connection.connect_tcp("127.0.0.1", _NOBODY).close()
    except ForwardRefused as error:
        return Check(
            "forwards",
            None,
            f"{error.message}: no TensorBoard, no debugger, slow large transfers",
            error.hint,
        )
    except ConnectFailed:
        pass  # the way is open, and nobody at its end
    return Check("forwards", True, "the VM's SSH server lets ports be forwarded")


def _mirror(status: Status) -> Iterator[Check]:
    vm = status.vm
    if vm is not None and vm.transfer:
        yield Check("transfer", True, f"bulk data travels by {vm.transfer}")
    for problem in status.problems:
        ok = False if problem.severity == "error" else None
        text = problem.message
        if problem.path:
            text = with_path(problem.path, text)
        yield Check("mirror", ok, text, problem.hint)
    if status.conflicts:
        yield Check(
            "conflicts",
            None,
            f"{status.conflicts} wait for your decision",
            "`colab-devsync conflicts` lists them.",
        )


def on_this_machine() -> Iterator[Check]:
    """What editors and plain ssh need here."""
    program = shutil.which("colab-devsync")
    yield Check(
        "editor",
        None if program is None else True,
        f"editors start {program}"
        if program
        else "colab-devsync is not on the daemon's PATH, so editors may not find it",
        "`colab-devsync setup vscode|pycharm|neovim|emacs|helix|zed` writes what an "
        "editor needs, with the full path.",
    )
    ssh = shutil.which("ssh")
    yield Check(
        "ssh",
        None if ssh is None else True,
        f"plain ssh: {ssh}" if ssh else "no ssh on this machine",
        "" if ssh else "Only `ssh colab-NAME`, scp and rsync need it.",
    )


def _step(error: DevsyncError) -> str:
    if isinstance(error, AgentError) and error.code not in _STEPS_OF_ERROR:
        return "agent"
    return _STEPS_OF_ERROR.get(error.code, "connection")
