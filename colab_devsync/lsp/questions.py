"""Questions to a person, over `window/showMessageRequest`. On the loop.

An editor that answers with an error (some do when the balloon is closed), with null or
not at all has not said yes. The hub bounds the time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from ..core.events import Question

if TYPE_CHECKING:
    from .server import DevsyncServer


async def ask(ls: DevsyncServer, question: Question) -> str | None:
    """The chosen title, or None."""
    params = types.ShowMessageRequestParams(
        type=types.MessageType.Warning,
        message=question.text,
        actions=[types.MessageActionItem(title=choice) for choice in question.choices],
    )
    try:
        answer = await ls.window_show_message_request_async(params)
    except JsonRpcException:
        return None
    except asyncio.CancelledError:
        if ls.closed:  # the request was cancelled because the client left
            return None
        raise
    return answer.title if answer is not None else None
