"""The commands as code actions: in some editors the only way to reach them. Pure but
for looking at what the client's projects are doing.

JetBrains IDEs (LSP4IJ) show twenty of them at most, so what is of no use at the moment
is left out: nobody disconnects a link that is down.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsprotocol import types

if TYPE_CHECKING:
    from ..core.events import Status
    from .server import DevsyncServer

KIND = "source.colabDevsync"

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Offer:
    """One command, ready to be executed."""

    title: str
    name: str  # "devsync.run"
    arguments: Arguments


def offers(
    commands: Mapping[str, object], root: Path, file: str | None, status: Status | None
) -> list[Offer]:
    """What makes sense now, the most wanted first. `file`: a Python file of the
    project, relative to it; `status`: None before the first connect."""
    found = [*_for_file(file), *_for_project(status), *_always()]
    return [
        Offer(one.title, one.name, {"folder": str(root), **one.arguments})
        for one in found
        if one.name in commands
    ]


def _for_file(file: str | None) -> Iterator[Offer]:
    if file is not None:
        yield Offer(f"Run {file} on Colab", "devsync.run", {"file": file})
        yield Offer(f"Debug {file} on Colab", "devsync.debug", {"file": file})
    else:
        yield Offer("Run the project on Colab", "devsync.run", {})
        yield Offer("Debug the project on Colab", "devsync.debug", {})


def _for_project(status: Status | None) -> Iterator[Offer]:
    link = status.link if status is not None else "offline"
    if link in ("offline", "blocked"):
        yield Offer("Connect to Colab", "devsync.connect", {})
    for run in status.runs if status is not None else ():
        if run.state == "running":
            yield Offer(f"Stop {run.id}", "devsync.stop", {"run": run.id})
    yield Offer("Mirror the project now", "devsync.sync", {})
    yield Offer("Pull checkpoints from Colab", "devsync.pull", {})
    yield Offer("Open TensorBoard of the VM", "devsync.tensorboard", {})
    if status is not None and status.conflicts:
        yield Offer("Show conflicts with the VM", "devsync.conflicts", {})
    yield Offer("Show the status of the VM", "devsync.status", {})
    if status is not None and status.runs:
        yield Offer("List runs on the VM", "devsync.runs", {})
    if link not in ("offline", "blocked"):
        yield Offer("Disconnect from Colab", "devsync.disconnect", {})


def _always() -> Iterator[Offer]:
    yield Offer("How to open a shell on the VM", "devsync.shell", {})
    yield Offer("Write the SSH alias of the VM", "devsync.sshConfig", {})
    yield Offer("Write the Colab notebook", "devsync.notebook", {})
    yield Offer("Check the set-up (doctor)", "devsync.doctor", {})


def command(
    ls: DevsyncServer, title: str, name: str, arguments: Arguments
) -> types.Command:
    """A client without our own extension is shown results with standard messages."""
    more = {} if _has_extension(ls) else {"show": True}
    return types.Command(title, name, arguments=[{**arguments, **more}])


def code_action(ls: DevsyncServer, offer: Offer) -> types.CodeAction:
    return types.CodeAction(
        title=offer.title,
        kind=f"{KIND}.{offer.name.rpartition('.')[2]}",
        command=command(ls, offer.title, offer.name, offer.arguments),
    )


def _has_extension(ls: DevsyncServer) -> bool:
    experimental = ls.client_capabilities.experimental
    if isinstance(experimental, Mapping):
        return bool(experimental.get("colabDevsync"))
    return bool(getattr(experimental, "colabDevsync", None))
