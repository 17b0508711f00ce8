"""The commands as code actions: in some editors the only way to reach them. Pure but
for looking at what the client's projects are doing.

JetBrains IDEs (LSP4IJ) show twenty of them at most, so what is of no use at the moment
is left out: nobody disconnects a link that is down.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsprotocol import types

from ..core.config import ForwardConfig

if TYPE_CHECKING:
    from ..core.events import Status
    from .server import DevsyncServer

KIND = "source.colabDevsync"
MOST = 20
_STOPS = 3  # runs that are offered to be stopped
_SHOWN_BY_CLIENT = ("devsync.run", "devsync.debug")

_EDITORS = {
    "intellij": "pycharm",
    "pycharm": "pycharm",
    "jetbrains": "pycharm",
    "neovim": "neovim",
    "emacs": "emacs",
    "eglot": "emacs",
    "helix": "helix",
    "zed": "zed",
}
"""What `setup` calls an editor, by a part of the name that it gives itself."""

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Offer:
    """One command, ready to be executed."""

    title: str
    name: str  # "devsync.run"
    arguments: Arguments


@dataclass(frozen=True)
class Scene:
    """What is known where commands are offered."""

    root: Path
    file: str | None = None  # a Python file of the project, relative to it
    status: Status | None = None  # None before the first connect
    forwards: Sequence[ForwardConfig] = ()
    client: str = ""  # the editor's name


def offers(commands: Mapping[str, object], scene: Scene) -> list[Offer]:
    """What makes sense now, the most wanted first."""
    found = [
        *_for_file(scene.file),
        *_for_project(scene.status),
        *_for_ports(scene),
        *_always(),
        *_for_editor(scene.client),
    ]
    return [
        Offer(one.title, one.name, {"folder": str(scene.root), **one.arguments})
        for one in found
        if one.name in commands
    ][:MOST]


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
    runs = status.runs if status is not None else ()
    for run in [one for one in runs if one.state == "running"][-_STOPS:]:
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


def _for_ports(scene: Scene) -> Iterator[Offer]:
    for one in scene.forwards:
        ports = {"remotePort": one.remote_port, "localPort": one.local_port}
        yield Offer(f"Forward {one.name} of the VM", "devsync.forward", ports)


def _for_editor(client: str) -> Iterator[Offer]:
    name = client.lower()
    found = (editor for part, editor in _EDITORS.items() if part in name)
    editor = next(found, None)
    if editor is not None:
        title = f"Write the files for {editor} (setup)"
        yield Offer(title, "devsync.setup", {"editor": editor})


def _always() -> Iterator[Offer]:
    yield Offer("How to open a shell on the VM", "devsync.shell", {})
    yield Offer("Write the SSH alias of the VM", "devsync.sshConfig", {})
    yield Offer("Write the Colab notebook", "devsync.notebook", {})
    yield Offer("Check the set-up (doctor)", "devsync.doctor", {})


def command(
    ls: DevsyncServer, title: str, name: str, arguments: Arguments
) -> types.Command:
    """Results are shown with standard messages, but what the client shows itself."""
    own = ls.options.shows_output and name in _SHOWN_BY_CLIENT
    more = {} if own else {"show": True}
    return types.Command(title, name, arguments=[{**arguments, **more}])


def code_action(ls: DevsyncServer, offer: Offer) -> types.CodeAction:
    return types.CodeAction(
        title=offer.title,
        kind=f"{KIND}.{offer.name.rpartition('.')[2]}",
        command=command(ls, offer.title, offer.name, offer.arguments),
    )
