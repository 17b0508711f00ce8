"""What somebody wants pushed, and how they hear of it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from ...core.events import OnProgress
from ...core.pushing import PushSpec


@dataclass(frozen=True)
class Order:
    """What somebody wants pushed, and how they hear of it."""

    spec: PushSpec
    progress: OnProgress
    cancel: threading.Event
