"""What a client is told of pulled files. On the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsprotocol import types

from ..core.events import FilePulled, PullsChanged, PullsInDanger
from . import protocol

if TYPE_CHECKING:
    from .server import DevsyncServer


def tell(
    ls: DevsyncServer, folder: str, event: FilePulled | PullsChanged | PullsInDanger
) -> None:
    """One event of a project, for a client that looks at it."""
    match event:
        case FilePulled(rule, path, size):
            body = protocol.PulledBody(folder=folder, name=rule, path=path, bytes=size)
            ls.tell(protocol.PULLED, body)
        case PullsChanged(pulls):
            told = [pull.as_json() for pull in pulls]
            ls.tell(protocol.PULLS, protocol.PullsBody(folder=folder, pulls=told))
        case PullsInDanger(message):
            warning = types.MessageType.Warning
            params = types.ShowMessageParams(type=warning, message=message)
            ls.tell(types.WINDOW_SHOW_MESSAGE, params)
